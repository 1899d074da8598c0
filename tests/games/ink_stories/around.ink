A wheel.
* [Push it.]
-> around

=== around
{ true: -> around }
-> END
