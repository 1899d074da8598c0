# title: The Mood
LIST mood = (Quixotic), Zany

You feel {mood}.
* [Laugh.]
  ~ mood += Zany
  You feel {mood}.
  -> END
