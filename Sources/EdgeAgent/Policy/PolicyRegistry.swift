import Synchronization

/// The policy in force now: the node's own, which is fixed while the agent runs, and the hub's narrowing, which is not.
final class PolicyRegistry: Sendable {
    private let state: Mutex<Policy>

    init(_ policy: Policy) {
        state = Mutex(policy)
    }

    var current: Policy { state.withLock { $0 } }

    /// Takes what the hub says of itself in place of what it said before.
    func narrow(by rules: PolicyRules) {
        state.withLock { $0 = $0.narrowed(by: rules) }
    }
}
