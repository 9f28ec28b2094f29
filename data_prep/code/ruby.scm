; Methods of instances and of classes, and lambdas that are assigned to a name.
(method
  name: (_) @name
  body: (_)? @body) @function
(singleton_method
  name: (_) @name
  body: (_)? @body) @function
(assignment
  left: [(identifier) (constant)] @name
  right: [
    (lambda body: (_ body: (_)? @body))
    (call method: (identifier) @lambda block: (_ body: (_)? @body) (#match? @lambda "^(lambda|proc)$"))
  ]) @function
