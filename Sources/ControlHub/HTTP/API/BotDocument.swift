import Foundation
import WireFormat

/// A bot as the API shows it.
struct BotDocument: Codable, APIDocument {
    static let schemaName: String? = "Bot"

    struct Exit: Codable, Sendable {
        let code: Int32
        let signal: Int32
        let at: Date?
        let lastStderr: String
        let requested: Bool
        let lost: Bool
        let outOfMemory: Bool
        let launchId: String?
    }

    struct Limit: Codable, Sendable {
        let resource: String
        let value: UInt64
        let mechanism: String
        let note: String
    }

    /// One side of what keeps a launch to itself.
    struct Isolation: Codable, Sendable {
        let aspect: String
        let mechanism: String
        let note: String

        init(_ isolation: WireIsolationInForce) {
            (aspect, mechanism, note) = (isolation.aspect, isolation.mechanism, isolation.note)
        }
    }

    struct Problem: Codable, Sendable {
        let code: String
        let count: UInt64
        let detail: String
        let since: Date?
    }

    struct Refusal: Codable, Sendable {
        let code: String
        let message: String
        let at: Date
    }

    let id: String
    let name: String
    let nodeId: String
    let nodeName: String
    let runtimeProfile: String
    let image: String?
    let desiredState: String
    let phase: String
    let reason: String?
    let reasonCode: String?
    let since: Date?
    let pid: Int64?
    let launchId: String?
    let restartCount: UInt32
    let restartPolicy: String?
    let nextStartAt: Date?
    let startRefused: Refusal?
    let chatPort: UInt32?
    let limits: [Limit]
    let isolation: [Isolation]
    let problems: [Problem]
    let lastExit: Exit?
    let config: WrittenJSON?
    let createdAt: Date
    let placementEpoch: UInt64
    let usage: BotUsageDocument?

    static var memberDetails: [String: Schema] {
        [
            "image": Schema().described(
                "What it was deployed with instead of its Docker profile's own image; missing where it runs that."
            ),
            "desired_state": .words(["running", "stopped"]),
            "phase": .words(["stopped", "starting", "ready", "stopping", "backoff", "failed", "unknown"]),
            "reason_code": Schema().described(
                "Why it is in this phase, stable and machine-readable; docs/native-runtime.md lists the codes."
            ),
            "restart_policy": .words(["no", "on-failure", "always"]),
            "next_start_at": Schema().described("In backoff: when it is started again."),
            "start_refused": Schema().described(
                "Why the last start or restart that was asked for did not happen: the node's words. Missing where it did."
            ),
            "limits": Schema().described("Every limit the running launch was given, and what keeps it on its node."),
            "isolation": Schema().described(
                "What keeps the running launch to itself, and what does not (mechanism none); docs/native-runtime.md explains the "
                    + "aspects. Empty where it does not run."
            ),
            "problems": Schema().described(
                "What the running launch, or the last one, did against the bot contract, and what the hub has held back of it."
            ),
            "config": Schema.anyObject.described(
                "The bot's config.json. Missing in answers to viewers, because keys of services stand in such files."
            ),
            "placement_epoch": Schema().described(
                "Counts placements; a node refuses to start a bot under an older one."
            ),
        ]
    }

    /// - Parameters:
    ///   - usage: the latest figures its node has told; nil where it told none.
    ///   - marks: what the hub has held back of it.
    ///   - role: of whoever is answered.
    init(_ bot: Bot, usage: WireBotUsage? = nil, marks: [IntakeMarks.Mark] = [], for role: Role) {
        let status = bot.status
        id = bot.id.rawValue
        name = bot.name
        nodeId = bot.nodeID.rawValue
        nodeName = bot.nodeName
        runtimeProfile = bot.runtimeProfile
        image = bot.image
        desiredState = bot.desiredState.rawValue
        phase = status?.phase.name ?? "stopped"
        reason = status.flatMap { $0.reason.isEmpty ? nil : $0.reason }
        reasonCode = status.flatMap { $0.reasonCode.isEmpty ? nil : $0.reasonCode }
        since = status.flatMap { Self.date($0.sinceUnixMs) }
        pid = status.flatMap { $0.pid > 0 ? $0.pid : nil }
        launchId = status.flatMap { $0.launchID.isEmpty ? nil : $0.launchID }
        restartCount = status?.restartCount ?? 0
        restartPolicy = status.flatMap { $0.restartPolicy.isEmpty ? nil : $0.restartPolicy }
        nextStartAt = status.flatMap { Self.date($0.nextStartUnixMs) }
        startRefused = bot.startRefusal.map { Refusal(code: $0.code, message: $0.message, at: $0.at) }
        chatPort = status.flatMap { $0.chatPort > 0 ? $0.chatPort : nil }
        limits = (status?.limits ?? []).map {
            Limit(resource: $0.resource, value: $0.value, mechanism: $0.mechanism, note: $0.note)
        }
        isolation = (status?.isolation ?? []).map(Isolation.init)
        problems =
            (status?.problems ?? []).map {
                Problem(code: $0.code, count: $0.count, detail: $0.detail, since: Self.date($0.sinceUnixMs))
            } + marks.map { Problem(code: $0.kind.rawValue, count: $0.count, detail: $0.detail, since: $0.since) }
        lastExit = status.flatMap { status in
            guard status.hasLastExit else { return nil }
            let exit = status.lastExit
            return Exit(
                code: exit.code,
                signal: exit.signal,
                at: Self.date(exit.atUnixMs),
                lastStderr: exit.lastStderr,
                requested: exit.requested,
                lost: exit.lost,
                outOfMemory: exit.outOfMemory,
                launchId: exit.launchID.isEmpty ? nil : exit.launchID
            )
        }
        config = role >= .operator ? bot.config : nil
        createdAt = bot.createdAt
        placementEpoch = bot.placementEpoch
        self.usage = usage.map(BotUsageDocument.init)
    }

    fileprivate static func date(_ milliseconds: UInt64) -> Date? {
        milliseconds > 0 ? Date(unixMilliseconds: Int64(clamping: milliseconds)) : nil
    }
}

extension BotDocument {
    init(_ bot: Bot, of services: HubServices, for role: Role) {
        let registry = services.nodes.registry
        self.init(
            bot,
            usage: registry.usage(of: bot.id, on: bot.nodeID),
            marks: registry.marks.marks(of: .bot(bot.id), at: services.clock.date()),
            for: role
        )
    }
}
