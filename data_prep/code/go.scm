; Functions, methods, and function literals that are the value of one package variable.
(function_declaration
  name: (identifier) @name
  body: (block)? @body) @function
(method_declaration
  name: (field_identifier) @name
  body: (block)? @body) @function
(source_file (var_declaration (var_spec
  name: (identifier) @name
  value: (expression_list . (func_literal body: (block) @body) .)) @function))
(source_file (var_declaration (var_spec_list (var_spec
  name: (identifier) @name
  value: (expression_list . (func_literal body: (block) @body) .)) @function)))
