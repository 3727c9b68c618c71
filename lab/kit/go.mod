module keptby.lab/kit

go 1.19
