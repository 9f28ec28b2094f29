; Declared functions and methods, and functions whose name is that of what they are assigned to.
(function_declaration
  name: (identifier) @name
  body: (_) @body) @function
(generator_function_declaration
  name: (identifier) @name
  body: (_) @body) @function
(method_definition
  name: (_) @name
  body: (_) @body) @function
(field_definition
  property: (_) @name
  value: [(arrow_function body: (_) @body) (function_expression body: (_) @body)]) @function
(variable_declarator
  name: (identifier) @name
  value: [(arrow_function body: (_) @body) (function_expression body: (_) @body) (generator_function body: (_) @body)]) @function
(assignment_expression
  left: [(identifier) (member_expression) (subscript_expression)] @name
  right: [(arrow_function body: (_) @body) (function_expression body: (_) @body) (generator_function body: (_) @body)]) @function
(pair
  key: (_) @name
  value: [(arrow_function body: (_) @body) (function_expression body: (_) @body) (generator_function body: (_) @body)]) @function
(export_statement
  "default" @name
  value: [(arrow_function body: (_) @body) (function_expression body: (_) @body) (generator_function body: (_) @body)]) @function
