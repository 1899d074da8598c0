# title: The Toll
VAR coins = 0
VAR kind = 0

A carter stands before the bar.
* [Take two coins.]
  ~ coins += 2
* [Take one coin.]
  ~ coins += 1
  ~ kind += 1
* [Wave him through. # violations: promises]
  ~ kind += 3
- Night falls.
* [Lock the purse away.]
  ~ coins += 1
* [Give the purse to the poor.]
  ~ coins -= coins
  ~ kind += 1
- -> END
