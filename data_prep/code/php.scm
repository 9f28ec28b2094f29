; Functions, methods, and closures assigned to a variable or a property.
(function_definition
  name: (name) @name
  body: (compound_statement) @body) @function
(method_declaration
  name: (name) @name
  body: (compound_statement)? @body) @function
(assignment_expression
  left: [(variable_name) (member_access_expression) (scoped_property_access_expression)] @name
  right: [(anonymous_function body: (_) @body) (arrow_function body: (_) @body)]) @function
