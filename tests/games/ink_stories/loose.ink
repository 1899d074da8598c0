VAR number = 1
A rope.
* [Let go.]
  -> fall
* [Climb.]
  ~ number = "three"
  You climb.
  -> END
* [Cut it.]
  ~ number = 1 / (number - 1)
  -> END

=== fall
You fall. # violations: other
