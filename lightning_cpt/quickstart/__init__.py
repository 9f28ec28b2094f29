"""The whole way once, small: code of installed packages in, a trained and measured encoder and a report out."""
