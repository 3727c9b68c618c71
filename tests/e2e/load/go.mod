module keptby.test/load

go 1.19
