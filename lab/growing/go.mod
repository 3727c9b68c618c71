module keptby.lab/growing

go 1.19

require keptby.lab/kit v0.0.0

replace keptby.lab/kit => ../kit
