"""What farm measures against what is known to be true: the calibration runner, and the truth of virtual phones."""
