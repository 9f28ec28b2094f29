"""`cpt check-gradients`: whether a recipe's gradient on several ranks is that of the full batch in one process."""
