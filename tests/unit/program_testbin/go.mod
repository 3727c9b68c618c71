module keptby.example/testbin

go 1.19
