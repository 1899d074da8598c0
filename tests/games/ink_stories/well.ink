# title: The Well
VAR coins = 0

-> well

=== well ===
You stand at the well{coins:, a wet coin in your hand}.
* -> dry
* [Draw up a bucket.]
  ~ coins += 1
  -> well
* {coins} [Throw a coin in.]
  ~ coins -= 1
  -> well

=== dry ===
The well is dry.
+ [Go home.]
  -> END
