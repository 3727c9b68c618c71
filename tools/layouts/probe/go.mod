module probe.keptby.test

go 1.19
