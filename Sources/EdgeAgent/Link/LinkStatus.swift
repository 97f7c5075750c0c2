import Synchronization
import WireFormat

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
        /// Since when the link is up, or is not.
        var sinceUnixMilliseconds: UInt64
        /// Why it is not up; of the last try.
        var reason = ""
        var fault = LinkFault.none
        /// Tries since the link was up.
        var failedTries = 0
        var nextTryAt: ContinuousClock.Instant?
        /// As the hub said, the last time it welcomed this node.
        var welcome: WireWelcome?
        var roundTrip: Duration?
        var hubOffsetMilliseconds: Int64?

        var isConnected: Bool {
            if case .connected = phase { true } else { false }
        }
    }

    private let state: Mutex<Snapshot>
    private let wallClock: @Sendable () -> UInt64

    /// - Parameter wallClock: milliseconds since 1970, for people.
    init(wallClock: @escaping @Sendable () -> UInt64) {
        self.wallClock = wallClock
        state = Mutex(Snapshot(phase: .connecting, sinceUnixMilliseconds: wallClock()))
    }

    var snapshot: Snapshot { state.withLock { $0 } }

    func connecting() {
        state.withLock { snapshot in
            leaveConnected(&snapshot)
            snapshot.phase = .connecting
            snapshot.nextTryAt = nil
        }
    }

    /// The node belongs to another hub now: what is known of the one before counts no more.
    func moved() {
        state.withLock { $0 = Snapshot(phase: .connecting, sinceUnixMilliseconds: wallClock()) }
    }

    func connected(_ welcome: WireWelcome) {
        state.withLock { snapshot in
            var welcome = welcome
            // Of all bots; nobody asks for them here.
            welcome.packetCursors = []
            snapshot = Snapshot(
                phase: .connected(epoch: welcome.sessionEpoch),
                sinceUnixMilliseconds: wallClock(),
                welcome: welcome
            )
        }
    }

    func measured(roundTrip: Duration, hubOffsetMilliseconds: Int64?) {
        state.withLock { snapshot in
            snapshot.roundTrip = roundTrip
            snapshot.hubOffsetMilliseconds = hubOffsetMilliseconds ?? snapshot.hubOffsetMilliseconds
        }
    }

    func waiting(_ reason: String, fault: LinkFault, until next: ContinuousClock.Instant) {
        state.withLock { snapshot in
            leaveConnected(&snapshot)
            snapshot.phase = .waiting(reason: reason)
            snapshot.reason = reason
            snapshot.fault = fault
            snapshot.failedTries += 1
            snapshot.nextTryAt = next
        }
    }

    func credentialProblem(_ reason: String, until next: ContinuousClock.Instant) {
        state.withLock { snapshot in
            leaveConnected(&snapshot)
            snapshot.phase = .credentialProblem(reason: reason)
            snapshot.reason = reason
            snapshot.fault = .pairing
            snapshot.failedTries += 1
            snapshot.nextTryAt = next
        }
    }

    private func leaveConnected(_ snapshot: inout Snapshot) {
        guard snapshot.isConnected else { return }
        snapshot.sinceUnixMilliseconds = wallClock()
        snapshot.roundTrip = nil
    }
}
