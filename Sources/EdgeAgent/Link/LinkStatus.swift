import Synchronization

/// Where the agent stands with its hub; read by whoever wants to know, written by the link alone.
final class LinkStatus: Sendable {
    enum Phase: Sendable, Equatable {
        case connecting
        case connected(epoch: UInt64)
        /// Waits before it dials again.
        case waiting(reason: String)
        /// The hub does not accept the credential; only a person can help. Bots run on.
        case credentialProblem(reason: String)
    }

    struct Snapshot: Sendable {
        var phase: Phase
        var since: ContinuousClock.Instant
    }

    private let state = Mutex(Snapshot(phase: .connecting, since: .now))

    var snapshot: Snapshot { state.withLock { $0 } }

    func enter(_ phase: Phase) {
        state.withLock { snapshot in
            guard snapshot.phase != phase else { return }
            snapshot = Snapshot(phase: phase, since: .now)
        }
    }
}
