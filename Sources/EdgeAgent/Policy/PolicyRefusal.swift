/// Who asks: what the node's owner configured here, or the hub.
enum PolicyOrigin: Sendable, Equatable {
    /// A runtime profile of this node's own configuration.
    case node
    /// A command, a release or a file that came over the link.
    case hub
}

/// Why something is not done on this node: the rule that refused, and one sentence for a person.
struct PolicyRefusal: Error, Sendable, Equatable, CustomStringConvertible {
    /// The rule's key in the policy file, such as `commands` or `caps.memory_bytes`.
    let rule: String
    /// What was refused, by which rule of which file, and what the node's owner could do.
    let message: String

    var description: String { message }
}
