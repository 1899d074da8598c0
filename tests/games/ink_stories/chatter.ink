A parrot.
* [Greet it.]
-> chatter

=== chatter
Hello.
-> chatter
