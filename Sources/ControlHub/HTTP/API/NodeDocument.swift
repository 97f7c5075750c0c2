import Foundation
import WireFormat

/// A node as the API shows it.
struct NodeDocument: Codable, APIDocument {
    static let schemaName: String? = "Node"

    struct Fact: Codable, Sendable {
        let state: String
        let reason: String
        let since: Date?
    }

    struct Workload: Codable, Sendable {
        let state: String
        let reason: String
        let since: Date?
        let botsRunning: Int
        let botsTotal: Int
    }

    struct Profile: Codable, Sendable {
        let name: String
        let backend: String
        let description: String
        let usable: Bool
        let reason: String
        let engine: String
        let engineVersion: String
        let restartPolicy: String?
        /// `SIGTERM 10000ms`, ...; SIGKILL follows.
        let stopSequence: [String]
        let limits: [String: UInt64]
        let user: String?
        /// What keeps its bots to themselves on this node; empty where its agent does not tell.
        let isolation: [BotDocument.Isolation]
        /// What runs the bots, with its version, such as the container engine.
        let backendVersion: String?
        /// Of containers.
        let image: String?
        let imagePresent: Bool?
        let network: String?

        init(_ profile: WireRuntimeProfile) {
            name = profile.name
            backend = profile.backend
            description = profile.description_p
            usable = profile.usable
            reason = profile.reason
            engine = profile.engine
            engineVersion = profile.engineVersion
            restartPolicy = profile.restartPolicy.isEmpty ? nil : profile.restartPolicy
            stopSequence = profile.stopSequence.map { "\($0.signal) \($0.waitMs)ms" }
            let all = [
                "memory_bytes": profile.limits.memoryBytes, "cpu_milli": UInt64(clamping: profile.limits.cpuMilli),
                "pids": UInt64(clamping: profile.limits.pids), "open_files": UInt64(clamping: profile.limits.openFiles),
            ]
            limits = all.filter { $0.value > 0 }
            user = profile.user.isEmpty ? nil : profile.user
            isolation = profile.isolation.map(BotDocument.Isolation.init)
            backendVersion = profile.backendVersion.isEmpty ? nil : profile.backendVersion
            image = profile.image.isEmpty ? nil : profile.image
            imagePresent = profile.image.isEmpty ? nil : profile.imagePresent
            network = profile.network.isEmpty ? nil : profile.network
        }
    }

    /// A second machine that holds this node's identity and was turned away.
    struct QuarantineDocument: Codable, Sendable {
        let reason: String
        let since: Date
        let lastAttemptAt: Date
        let attempts: Int
        let hostName: String
        let remoteAddress: String
        let machineFingerprint: String
        let bootId: String

        init(_ quarantine: Quarantine) {
            reason = quarantine.reason
            since = quarantine.since
            lastAttemptAt = quarantine.lastAttemptAt
            attempts = quarantine.attempts
            hostName = quarantine.machine.hostName
            remoteAddress = quarantine.machine.remoteAddress
            machineFingerprint = quarantine.machine.fingerprint
            bootId = quarantine.machine.bootID
        }
    }

    let id: String
    let name: String
    let health: String
    let healthReason: String
    let healthSince: Date?
    let link: Fact
    let agent: Fact
    let workload: Workload
    let lastSeenAt: Date?
    let connectedAt: Date?
    let remoteAddress: String?
    let agentVersion: String?
    let os: String?
    let osVersion: String?
    let architecture: String?
    let kernel: String?
    let hostName: String?
    let capabilities: [String: String]
    let runtimeProfiles: [Profile]
    let resources: ResourcesDocument?
    let linkRttMs: Double?
    let clockOffsetMs: Int64?
    let createdAt: Date
    let revokedAt: Date?
    let sessionEpoch: UInt64
    let quarantine: QuarantineDocument?
    let labels: [String: String]
    let draining: Bool
    let drainedAt: Date?
    let thresholds: Thresholds
    let policy: PolicyDocument?
    let strays: [StrayDocument]
    let problems: [IntakeProblem]

    static var memberDetails: [String: Schema] {
        [
            "health": .words(of: NodeHealthState.self),
            "capabilities": Schema().described("What the agent can do; names the protocol's document explains."),
            "clock_offset_ms": Schema().described("The node's wall clock minus the hub's. Nothing is decided by it."),
            "quarantine": Schema().described("A machine with this node's identity that was turned away."),
            "strays": Schema().described(
                "Bots that are placed elsewhere and of which the node still holds something; see `/api/nodes/{id}/strays`."
            ),
            "draining": Schema().described("Nothing is placed or started on it."),
            "problems": Schema().described(
                "What the hub has refused, slowed down or cut of what the node sent, within a day."
            ),
        ]
    }

    /// When the node is called degraded and offline.
    struct Thresholds: Codable, Sendable {
        let heartbeatIntervalSeconds: Double
        let degradedAfterSeconds: Double
        let offlineAfterSeconds: Double
        let closedGraceSeconds: Double
        /// The node's own; otherwise the hub's.
        let own: Bool

        init(_ thresholds: HealthThresholds, own: Bool) {
            heartbeatIntervalSeconds = thresholds.heartbeatInterval.seconds
            degradedAfterSeconds = thresholds.degradedAfter.seconds
            offlineAfterSeconds = thresholds.offlineAfter.seconds
            closedGraceSeconds = thresholds.closedGrace.seconds
            self.own = own
        }
    }

    init(_ node: Node, registry: NodeRegistry, bots: [BotStore.Summary], strays: [Stray], at date: Date) {
        let live = registry.live(node.id) ?? NodeRegistry.Live()
        let hello = node.hello
        id = node.id.rawValue
        name = node.name
        health = live.health.rawValue
        healthReason = live.healthReason
        healthSince = live.healthSince ?? node.createdAt
        link = Self.link(node, live)
        agent = Self.agent(node, live)
        workload = Self.workload(live, bots)
        lastSeenAt = live.lastSeenAt ?? node.lastSeenAt
        connectedAt = live.isConnected ? node.connectedAt : nil
        remoteAddress = live.remoteAddress ?? node.remoteAddress
        agentVersion = hello?.agentVersion
        os = hello?.os
        osVersion = hello?.osVersion
        architecture = hello?.architecture
        kernel = hello?.kernel
        hostName = hello?.hostName
        capabilities = hello?.capabilities ?? [:]
        runtimeProfiles = (hello?.runtimeProfiles ?? []).map(Profile.init)
        resources = (live.resources ?? node.resources).map(ResourcesDocument.init)
        linkRttMs = (live.linkRTTMicroseconds ?? node.linkRTTMicroseconds).map { Double($0) / 1000 }
        clockOffsetMs = live.clockOffsetMilliseconds ?? node.clockOffsetMilliseconds
        createdAt = node.createdAt
        revokedAt = node.revokedAt
        sessionEpoch = max(node.sessionEpoch, live.epoch)
        quarantine = live.quarantine.map(QuarantineDocument.init)
        labels = node.labels
        draining = node.drainedAt != nil
        drainedAt = node.drainedAt
        thresholds = Thresholds(registry.thresholds(of: node.id), own: node.thresholds != nil)
        self.strays = strays.map { StrayDocument($0) }
        problems = registry.marks.marks(of: .node(node.id), at: date).map(IntakeProblem.init)
        policy = hello.flatMap { $0.hasPolicy ? PolicyDocument($0.policy, narrowing: node.policyNarrowing) : nil }
    }

    private static func link(_ node: Node, _ live: NodeRegistry.Live) -> Fact {
        if live.isConnected {
            return Fact(
                state: "up",
                reason: "Connected from \(live.remoteAddress ?? "an unknown address").",
                since: live.linkSince
            )
        }
        guard node.hello != nil else {
            return Fact(state: "never", reason: "The agent has not connected yet.", since: node.createdAt)
        }
        return Fact(state: "down", reason: node.closeReason ?? live.closeReason, since: live.linkSince ?? node.closedAt)
    }

    private static func agent(_ node: Node, _ live: NodeRegistry.Live) -> Fact {
        if let revokedAt = node.revokedAt {
            return Fact(state: "revoked", reason: "An operator revoked this node. Pair it again.", since: revokedAt)
        }
        let problems = live.isConnected ? live.resources?.problems ?? [] : []
        switch live.health {
        case .online where !problems.isEmpty:
            return Fact(
                state: "impaired",
                reason: problems.map(\.message).joined(separator: " "),
                since: live.problemsSince ?? live.healthSince
            )
        case .online: return Fact(state: "running", reason: "Heartbeats arrive.", since: live.healthSince)
        case .degraded where live.isConnected, .offline where live.isConnected:
            return Fact(state: "silent", reason: live.healthReason, since: live.healthSince)
        case .degraded, .offline:
            return Fact(
                state: "unknown",
                reason: "Without a connection nothing is known; bots go on without the hub.",
                since: live.healthSince
            )
        case .neverSeen: return Fact(state: "never_seen", reason: live.healthReason, since: node.createdAt)
        }
    }

    private static func workload(_ live: NodeRegistry.Live, _ bots: [BotStore.Summary]) -> Workload {
        let running = bots.filter { [.ready, .starting].contains($0.status?.phase ?? .unspecified) }.count
        let troubled = bots.filter { [.failed, .backoff].contains($0.status?.phase ?? .unspecified) }
        let since = bots.compactMap { $0.status?.sinceUnixMs }.max().map { Date(unixMilliseconds: Int64(clamping: $0)) }
        let (state, reason): (String, String)
        if bots.isEmpty {
            (state, reason) = ("idle", "No bots are placed here.")
        } else if live.health == .offline || live.health == .neverSeen {
            let why = live.isConnected ? "silent" : "not connected"
            (state, reason) = ("unknown", "The node is \(why); this is what it last said.")
        } else if let first = troubled.first {
            (state, reason) = (
                "degraded",
                "\(first.name) is in \(first.status?.phase.name ?? "trouble"): \(first.status?.reason ?? "")"
            )
        } else {
            (state, reason) = ("ok", "\(running) of \(bots.count) bots \(running == 1 ? "runs" : "run").")
        }
        return Workload(state: state, reason: reason, since: since, botsRunning: running, botsTotal: bots.count)
    }
}
