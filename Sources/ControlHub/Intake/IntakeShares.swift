import Synchronization

/// What each node and each bot has left of its quotas. Counted by node, not by session, so that a new session gains nothing.
final class IntakeShares: Sendable {
    /// Nodes, and bots, remembered at once; beyond it those that are quiet are forgotten, then all.
    private static let maximumSenders = 20_000

    private struct NodeBuckets {
        var packets: RateBucket
        var packetBytes: RateBucket
        var messages: RateBucket
        var states: RateBucket
        var figures: RateBucket
        var logBytes: RateBucket

        init(_ quotas: IntakeQuotas, now: ContinuousClock.Instant) {
            packets = RateBucket(quotas.packetsOfNode, now: now)
            packetBytes = RateBucket(quotas.packetBytesOfNode, now: now)
            messages = RateBucket(quotas.messages, now: now)
            states = RateBucket(quotas.states, now: now)
            figures = RateBucket(quotas.figures, now: now)
            logBytes = RateBucket(quotas.logBytes, now: now)
        }

        func isQuiet(_ now: ContinuousClock.Instant) -> Bool {
            [packets, packetBytes, messages, states, figures, logBytes].allSatisfy { $0.isFull(now: now) }
        }
    }

    private struct BotBuckets {
        var packets: RateBucket
        var packetBytes: RateBucket

        func isQuiet(_ now: ContinuousClock.Instant) -> Bool {
            packets.isFull(now: now) && packetBytes.isFull(now: now)
        }
    }

    private struct State {
        var nodes: [NodeID: NodeBuckets] = [:]
        var bots: [BotID: BotBuckets] = [:]
    }

    /// Packets of one bot that came together.
    struct Load: Sendable, Equatable {
        var packets = 0
        var bytes = 0
    }

    private let quotas: IntakeQuotas
    private let state = Mutex(State())

    init(_ quotas: IntakeQuotas) { self.quotas = quotas }

    /// Charges a message of the session, with so many states of bots in it.
    ///
    /// - Returns: how long no more may be taken of the node.
    func message(of node: NodeID, states count: Int = 0, now: ContinuousClock.Instant) -> Duration {
        withNode(node, now) { buckets in
            max(buckets.messages.charge(1, now: now), buckets.states.charge(Double(count), now: now))
        }
    }

    /// Whether figures that came are to be looked at.
    func takesFigures(of node: NodeID, now: ContinuousClock.Instant) -> Bool {
        withNode(node, now) { $0.figures.take(1, now: now) }
    }

    /// Charges lines of a log that is kept here. As `message(of:)`.
    func log(of node: NodeID, bytes: Int, now: ContinuousClock.Instant) -> Duration {
        withNode(node, now) { $0.logBytes.charge(Double(bytes), now: now) }
    }

    /// Charges packets.
    ///
    /// - Parameters:
    ///   - all: all that came, whatever becomes of it.
    ///   - bots: those of bots that are the node's.
    /// - Returns: what the node as a whole owes, and which bots owe how much.
    func packets(
        of node: NodeID,
        _ all: Load,
        bots: [BotID: Load],
        now: ContinuousClock.Instant
    ) -> PacketDebt {
        let whole = withNode(node, now) { buckets in
            max(
                buckets.packets.charge(Double(all.packets), now: now),
                buckets.packetBytes.charge(Double(all.bytes), now: now)
            )
        }
        let single = state.withLock { state in
            if state.bots.count >= Self.maximumSenders {
                state.bots = state.bots.filter { !$0.value.isQuiet(now) }
                if state.bots.count >= Self.maximumSenders { state.bots = [:] }
            }
            return bots.reduce(into: [:]) { $0[$1.key] = Self.charge(&state.bots, $1.key, $1.value, quotas, now) }
        }
        return PacketDebt(ofNode: whole, ofBots: single.filter { $0.value > .zero })
    }

    private static func charge(
        _ all: inout [BotID: BotBuckets],
        _ bot: BotID,
        _ load: Load,
        _ quotas: IntakeQuotas,
        _ now: ContinuousClock.Instant
    ) -> Duration {
        var buckets =
            all[bot]
            ?? BotBuckets(
                packets: RateBucket(quotas.packetsOfBot, now: now),
                packetBytes: RateBucket(quotas.packetBytesOfBot, now: now)
            )
        defer { all[bot] = buckets }
        return max(
            buckets.packets.charge(Double(load.packets), now: now),
            buckets.packetBytes.charge(Double(load.bytes), now: now)
        )
    }

    private func withNode<Result: Sendable>(
        _ node: NodeID,
        _ now: ContinuousClock.Instant,
        _ body: (inout NodeBuckets) -> Result
    ) -> Result {
        state.withLock { state in
            if state.nodes.count >= Self.maximumSenders, state.nodes[node] == nil {
                state.nodes = state.nodes.filter { !$0.value.isQuiet(now) }
                if state.nodes.count >= Self.maximumSenders { state.nodes = [:] }
            }
            return body(&state.nodes[node, default: NodeBuckets(quotas, now: now)])
        }
    }
}
