module keptby.example/bench/heap

go 1.19
