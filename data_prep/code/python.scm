; A function or method whose first statement is a string. Whether the string is a docstring
; (no f-string, no bytes) and whether the function is nested is for the caller to see.
(function_definition
  name: (identifier) @name
  body: (block . (expression_statement . [(string) (concatenated_string)] @doc .)) @body) @function
