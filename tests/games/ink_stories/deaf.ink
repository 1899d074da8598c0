EXTERNAL ring(times)
{ring(2)} bells.
* [Listen.] -> END
