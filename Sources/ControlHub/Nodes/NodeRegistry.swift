import Foundation
import Synchronization
import WireFormat

/// What is true of the nodes this moment: sessions, last heartbeats, health.
///
/// The database follows a little behind (`NodeLiveService` writes what changed, many nodes in one transaction); readers
/// that want the present ask here.
final class NodeRegistry: Sendable {
    /// The live side of one node.
    struct Live: Sendable {
        var epoch: UInt64 = 0
        var isConnected = false
        /// When heartbeats are counted from: the session's start or the last heartbeat.
        var heardAt: ContinuousClock.Instant?
        var closedAt: ContinuousClock.Instant?
        var closeReason = "not connected since the hub started"
        var lastSeenAt: Date?
        var linkSince: Date?
        var remoteAddress: String?
        /// Who holds the session, or held the last one.
        var machine: MachineWitness?
        /// Who held sessions before; see `IdentityPolicy`.
        var earlierMachines: [MachineWitness] = []
        var quarantine: Quarantine?
        /// Machines that an operator has decided against.
        var refusedMachines: [MachineWitness] = []
        /// The node's own; nil where the hub's hold.
        var thresholds: HealthThresholds?
        var resources: WireNodeResources?
        /// Since when the agent has said that something keeps it from doing all it should, or that nothing does.
        var problemsSince: Date?
        var botUsage: [WireBotUsage] = []
        var linkRTTMicroseconds: Int64?
        var clockOffsetMilliseconds: Int64?
        var health: NodeHealthState = .neverSeen
        var healthReason = "The agent has not connected yet."
        var healthSince: Date?
        /// Changed since it was last written to the database.
        var isDirty = false
    }

    /// A health change that the caller must tell.
    struct Transition: Sendable, Equatable {
        let node: NodeID
        let from: NodeHealthState
        let to: NodeHealthState
        let reason: String
        let at: Date
    }

    /// The hub's, for nodes without their own.
    let thresholds: HealthThresholds
    /// What was refused or cut of what they sent.
    let marks = IntakeMarks()
    private let identity = IdentityPolicy()
    private let state = Mutex<[NodeID: Live]>([:])
    private let heartbeats = Mutex<UInt64>(0)

    init(thresholds: HealthThresholds) {
        self.thresholds = thresholds
    }

    /// Takes over what the database knows, at the start of the hub.
    func load(_ nodes: [Node], now: ContinuousClock.Instant, date: Date) {
        state.withLock { state in
            for node in nodes {
                var live = Live()
                live.epoch = node.sessionEpoch
                live.remoteAddress = node.remoteAddress
                live.resources = node.resources
                live.botUsage = node.botUsage
                live.linkRTTMicroseconds = node.linkRTTMicroseconds
                live.clockOffsetMilliseconds = node.clockOffsetMilliseconds
                live.machine = node.hello.map { MachineWitness($0, remoteAddress: node.remoteAddress ?? "") }
                live.healthSince = node.createdAt
                live.quarantine = node.quarantine
                live.refusedMachines = node.refusedMachines
                live.thresholds = node.thresholds?.applied(to: thresholds)
                if node.hello != nil {
                    live.closedAt = now
                    live.lastSeenAt = node.lastSeenAt
                    live.linkSince = node.closedAt ?? date
                    live.health = .degraded
                    live.healthSince = date
                    live.healthReason = "The connection closed and may come back: \(live.closeReason)"
                }
                state[node.id] = live
            }
        }
    }

    /// Adds a node that has just been made.
    func add(_ node: NodeID, at date: Date) {
        state.withLock { state in
            guard state[node] == nil else { return }
            var live = Live()
            live.healthSince = date
            state[node] = live
        }
    }

    /// Forgets a deleted node.
    func remove(_ node: NodeID) {
        state.withLock { _ = $0.removeValue(forKey: node) }
        marks.forget(.node(node))
    }

    /// The live side of a node; nil for one made by another process and not seen yet.
    func live(_ node: NodeID) -> Live? {
        state.withLock { $0[node] }
    }

    /// What a bot uses, as its node last said; nil where the node is away or has said nothing.
    func usage(of bot: BotID, on node: NodeID) -> WireBotUsage? {
        state.withLock { state in
            guard let live = state[node], live.isConnected else { return nil }
            return live.botUsage.first { $0.botID == bot.rawValue }
        }
    }

    /// How many nodes are in which health.
    func countsByHealth() -> [NodeHealthState: Int] {
        state.withLock { state in
            state.values.reduce(into: [:]) { $0[$1.health, default: 0] += 1 }
        }
    }

    /// Nodes with an open session.
    var connectedCount: Int { state.withLock { $0.values.count { $0.isConnected } } }

    /// Heartbeats taken since the hub started.
    var heartbeatCount: UInt64 { heartbeats.withLock { $0 } }

    /// Judges a machine that dials, and notes one that an operator has to decide about.
    ///
    /// - Returns: the evidence against it, nil where it may have a session; and whether the evidence is news.
    func judge(
        _ node: NodeID,
        _ newcomer: MachineWitness,
        now: ContinuousClock.Instant,
        at date: Date
    ) -> (quarantineReason: String?, isNews: Bool) {
        state.withLock { state in
            guard var live = state[node] else { return (nil, false) }
            let limit = (live.thresholds ?? thresholds).degradedAfter
            let isHeard = live.isConnected && live.heardAt.map { now - $0 <= limit } == true
            let verdict = identity.judge(
                newcomer,
                present: isHeard ? live.machine : nil,
                earlier: live.earlierMachines,
                refused: live.refusedMachines,
                holder: live.machine
            )
            let reason: String
            switch verdict {
            case .admit: return (nil, false)
            case .refuse(let why): return (why, false)
            case .quarantine(let why): reason = why
            }
            let known = live.quarantine.flatMap { $0.machine.isSameBoot(as: newcomer) ? $0 : nil }
            live.quarantine = Quarantine(
                machine: newcomer,
                reason: reason,
                since: known?.since ?? date,
                lastAttemptAt: date,
                attempts: (known?.attempts ?? 0) + 1
            )
            state[node] = live
            return (reason, known == nil)
        }
    }

    /// The node was paired again: what was seen of machines before says nothing about the next.
    func forgetMachines(_ node: NodeID) {
        state.withLock { state in
            state[node]?.machine = nil
            state[node]?.earlierMachines = []
            state[node]?.quarantine = nil
            state[node]?.refusedMachines = []
        }
    }

    /// The machine that holds the node's identity and the one that was turned away; nil where none was.
    func machines(of node: NodeID) -> (holder: MachineWitness?, newcomer: MachineWitness)? {
        state.withLock { state in
            state[node].flatMap { live in live.quarantine.map { (live.machine, $0.machine) } }
        }
    }

    /// Never admits a machine as this node again, and ends the quarantine.
    ///
    /// - Parameter isHolderReplaced: the node has moved: whoever comes next is the node.
    /// - Returns: all machines that are refused now.
    func refuse(
        _ machine: MachineWitness?,
        of node: NodeID,
        isHolderReplaced: Bool,
        at date: Date
    ) -> [MachineWitness] {
        state.withLock { state in
            guard var live = state[node] else { return [] }
            if isHolderReplaced, let newcomer = live.quarantine?.machine {
                live.earlierMachines = []
                live.refusedMachines.removeAll { $0.isSameBoot(as: newcomer) }
                live.machine = newcomer
                // Until the newcomer is here nobody holds the identity; the old session is being closed.
                live.isConnected = false
                live.closedAt = live.heardAt
                live.linkSince = date
                live.closeReason = "an operator has decided that the node has moved"
            }
            if let machine, !live.refusedMachines.contains(where: { $0.isSameBoot(as: machine) }) {
                live.refusedMachines = Array((live.refusedMachines + [machine]).suffix(IdentityPolicy.historyLimit))
            }
            live.quarantine = nil
            state[node] = live
            return live.refusedMachines
        }
    }

    /// Gives a node thresholds of its own, or the hub's again.
    func setThresholds(
        _ own: NodeThresholds?,
        of node: NodeID,
        now: ContinuousClock.Instant,
        at date: Date
    ) -> Transition? {
        state.withLock { state in
            guard var live = state[node] else { return nil }
            live.thresholds = own?.applied(to: thresholds)
            return settle(&state, node, live, now: now, date: date)
        }
    }

    func thresholds(of node: NodeID) -> HealthThresholds {
        state.withLock { $0[node]?.thresholds ?? thresholds }
    }

    /// A session began.
    func open(
        _ node: NodeID,
        epoch: UInt64,
        hello: WireHello,
        remoteAddress: String,
        now: ContinuousClock.Instant,
        at date: Date
    ) -> Transition? {
        state.withLock { state in
            var live = state[node] ?? Live()
            guard epoch >= live.epoch else { return nil }
            live.epoch = epoch
            live.isConnected = true
            live.heardAt = now
            live.closedAt = nil
            live.lastSeenAt = date
            live.linkSince = date
            live.remoteAddress = remoteAddress
            let machine = MachineWitness(hello, remoteAddress: remoteAddress)
            live.earlierMachines = identity.history(live.earlierMachines, present: live.machine, newcomer: machine)
            live.machine = machine
            if live.quarantine?.machine.isSameBoot(as: machine) == true { live.quarantine = nil }
            if hello.sentAtUnixMs > 0 {
                live.clockOffsetMilliseconds = Int64(clamping: hello.sentAtUnixMs)
                    .clampedSubtracting(date.unixMilliseconds)
            }
            live.isDirty = true
            return settle(&state, node, live, now: now, date: date)
        }
    }

    /// A heartbeat came.
    ///
    /// - Returns: false when it is from a session that has been replaced; whether what troubles the agent is news.
    func heartbeat(
        _ node: NodeID,
        epoch: UInt64,
        _ heartbeat: WireHeartbeat,
        now: ContinuousClock.Instant,
        at date: Date
    ) -> (isCurrent: Bool, hasNews: Bool, transition: Transition?) {
        state.withLock { state in
            guard var live = state[node], live.epoch == epoch, live.isConnected else { return (false, false, nil) }
            heartbeats.withLock { $0 += 1 }
            live.heardAt = now
            live.lastSeenAt = date
            // Without figures the ones before still hold: the hub may want them more rarely than heartbeats.
            let hasNews = heartbeat.hasResources && live.take(heartbeat.resources, heartbeat.bots, at: date)
            if heartbeat.linkRttUs > 0 { live.linkRTTMicroseconds = Int64(clamping: heartbeat.linkRttUs) }
            if heartbeat.sentAtUnixMs > 0 {
                let halfTrip = (live.linkRTTMicroseconds ?? 0) / 2000
                live.clockOffsetMilliseconds =
                    Int64(clamping: heartbeat.sentAtUnixMs)
                    .clampedSubtracting(date.unixMilliseconds.clampedSubtracting(halfTrip))
            }
            live.isDirty = true
            return (true, hasNews, settle(&state, node, live, now: now, date: date))
        }
    }

    /// Figures came, between two heartbeats or because they were asked for.
    ///
    /// - Returns: as `heartbeat`.
    func telemetry(
        _ node: NodeID,
        epoch: UInt64,
        _ telemetry: WireTelemetry,
        at date: Date
    ) -> (isCurrent: Bool, hasNews: Bool) {
        state.withLock { state in
            guard var live = state[node], live.epoch == epoch, live.isConnected, telemetry.hasResources else {
                return (false, false)
            }
            let hasNews = live.take(telemetry.resources, telemetry.bots, at: date)
            live.isDirty = true
            state[node] = live
            return (true, hasNews)
        }
    }

    /// A session ended; nothing happens when a newer one has replaced it.
    func close(
        _ node: NodeID,
        epoch: UInt64,
        reason: String,
        now: ContinuousClock.Instant,
        at date: Date
    ) -> (isCurrent: Bool, transition: Transition?) {
        state.withLock { state in
            guard var live = state[node], live.epoch == epoch, live.isConnected else { return (false, nil) }
            live.isConnected = false
            live.closedAt = now
            live.closeReason = reason
            live.linkSince = date
            return (true, settle(&state, node, live, now: now, date: date))
        }
    }

    /// Looks at every node again and returns what changed.
    func evaluateAll(now: ContinuousClock.Instant, at date: Date) -> [Transition] {
        state.withLock { state in
            state.keys.compactMap { node in
                state[node].flatMap { settle(&state, node, $0, now: now, date: date) }
            }
        }
    }

    /// The nodes that changed since the last call, marked as clean.
    func takeDirty() -> [NodeID: Live] {
        state.withLock { state in
            let dirty = state.filter(\.value.isDirty)
            for node in dirty.keys { state[node]?.isDirty = false }
            return dirty
        }
    }

    /// Puts back what could not be written.
    func markDirty(_ nodes: some Sequence<NodeID>) {
        state.withLock { state in
            for node in nodes { state[node]?.isDirty = true }
        }
    }

    /// Stores `live` with its health worked out anew.
    private func settle(
        _ state: inout [NodeID: Live],
        _ node: NodeID,
        _ live: Live,
        now: ContinuousClock.Instant,
        date: Date
    ) -> Transition? {
        var live = live
        let link: HealthPolicy.Link
        if live.isConnected, let heardAt = live.heardAt {
            link = .connected(quietFor: now - heardAt)
        } else if let closedAt = live.closedAt {
            link = .closed(ago: now - closedAt, reason: live.closeReason)
        } else {
            link = .neverSeen
        }
        let verdict = HealthPolicy(thresholds: live.thresholds ?? thresholds).evaluate(link)
        let before = live.health
        live.healthReason = verdict.reason
        if before != verdict.state {
            live.health = verdict.state
            live.healthSince = date
        }
        state[node] = live
        guard before != verdict.state else { return nil }
        return Transition(node: node, from: before, to: verdict.state, reason: verdict.reason, at: date)
    }
}

extension NodeRegistry.Live {
    /// Takes over figures.
    ///
    /// - Returns: whether what troubles the agent is something else than before.
    fileprivate mutating func take(_ figures: WireNodeResources, _ usage: [WireBotUsage], at date: Date) -> Bool {
        let (before, after) = ((resources?.problems ?? []).map(\.code), figures.problems.map(\.code))
        if before.isEmpty != after.isEmpty { problemsSince = date }
        resources = figures
        botUsage = usage
        return before != after
    }
}
