import Glibc
import Synchronization
import WireFormat

/// When this node last heard from its hub, and whether the hub has had its say since the agent started.
///
/// A bot on trial lives by the first (`RuntimeLease`), and bots that are to be started again after a reboot wait a moment
/// for the second: the hub may have placed them elsewhere meanwhile.
final class HubContact: Sendable {
    private enum Say {
        /// It has not been asked yet.
        case none
        /// It has said which bots are placed elsewhere, or cannot be asked now.
        case had
        /// It takes this machine for a second one with the node's identity, and has said nothing of its bots.
        case refused
    }

    private struct State {
        var heardAtMilliseconds: UInt64?
        var say: Say
    }

    private let state: Mutex<State>
    private let spoken = Signal()
    private let now: @Sendable () -> UInt64

    /// - Parameters:
    ///   - isLinked: a link will tell; otherwise the hub counts as heard now, and nobody waits for it.
    ///   - now: milliseconds of the clock that leases are counted in.
    init(isLinked: Bool = false, now: @escaping @Sendable () -> UInt64 = BootTime.milliseconds) {
        self.now = now
        state = Mutex(State(heardAtMilliseconds: isLinked ? nil : now(), say: isLinked ? .none : .had))
    }

    /// A moment to be given to `heard(asOf:)` later.
    func moment() -> UInt64 { now() }

    /// The hub has answered something that was said then: whatever it knew of this node, it knew it at that time or
    /// later. Counting from when it was *asked* keeps a lease shorter here than the hub believes it to be.
    func heard(asOf moment: UInt64) {
        state.withLock { $0.heardAtMilliseconds = max($0.heardAtMilliseconds ?? 0, moment) }
    }

    func heard(ago: Duration) {
        let now = now()
        heard(asOf: now - min(now, UInt64(saturating: max(0, ago / .milliseconds(1)))))
    }

    /// The end of a lease of this length that is counted from the last contact; nil where there was none.
    func leaseEnd(_ milliseconds: UInt64) -> UInt64? {
        state.withLock { $0.heardAtMilliseconds }.map { $0 + milliseconds }
    }

    /// Whether the hub was heard of within so many milliseconds.
    func isHeard(within milliseconds: UInt64) -> Bool {
        leaseEnd(milliseconds).map { $0 > now() } ?? false
    }

    /// The hub has said which bots are placed elsewhere.
    func markSpoken() { note(.had) }

    /// The hub cannot be asked now, and bots must not wait for it. One that has turned this machine away is not asked again.
    func markUnreachable() { note(.had, unless: .refused) }

    /// The hub has turned this machine away, because another one is the node: what does not run here runs there.
    func markTurnedAway() { note(.refused, unless: .had) }

    private func note(_ say: Say, unless present: Say? = nil) {
        state.withLock { if $0.say != present { $0.say = say } }
        spoken.wake()
    }

    /// Waits for the hub's say: not longer than the limit, unless it has turned this machine away.
    func waitUntilSpoken(atMost limit: Duration, clock: any Clock<Duration>) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.wait { $0 == .had } }
            group.addTask {
                // Cut short where the hub speaks first.
                try? await clock.sleep(for: limit)
                await self.wait { $0 != .refused }
            }
            _ = await group.next()
            group.cancelAll()
        }
    }

    private func wait(until isEnough: (Say) -> Bool) async {
        while true {
            let ticket = spoken.ticket
            if isEnough(state.withLock({ $0.say })) { return }
            // Cancelled: nobody waits any more.
            guard (try? await spoken.wait(after: ticket)) != nil else { return }
        }
    }
}
