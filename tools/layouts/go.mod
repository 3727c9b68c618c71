module layouts.keptby.test

go 1.19
