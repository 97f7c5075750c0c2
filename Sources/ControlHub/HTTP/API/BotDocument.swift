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
    }

    let id: String
    let name: String
    let nodeId: String
    let nodeName: String
    let runtimeProfile: String
    let desiredState: String
    let phase: String
    let reason: String?
    let since: Date?
    let pid: Int64?
    let launchId: String?
    let restartCount: UInt32
    let lastExit: Exit?
    let config: JSONValue
    let createdAt: Date
    let placementEpoch: UInt64

    static var memberDetails: [String: Schema] {
        [
            "desired_state": .words(["running", "stopped"]),
            "phase": .words(["stopped", "starting", "ready", "stopping", "backoff", "failed", "unknown"]),
            "config": Schema.anyObject.described("The bot's config.json."),
            "placement_epoch": Schema().described(
                "Counts placements; a node refuses to start a bot under an older one."
            ),
        ]
    }

    init(_ bot: Bot) {
        let status = bot.status
        id = bot.id.rawValue
        name = bot.name
        nodeId = bot.nodeID.rawValue
        nodeName = bot.nodeName
        runtimeProfile = bot.runtimeProfile
        desiredState = bot.desiredState.rawValue
        phase = status?.phase.name ?? "stopped"
        reason = status.flatMap { $0.reason.isEmpty ? nil : $0.reason }
        since = status.flatMap { Self.date($0.sinceUnixMs) }
        pid = status.flatMap { $0.pid > 0 ? $0.pid : nil }
        launchId = status.flatMap { $0.launchID.isEmpty ? nil : $0.launchID }
        restartCount = status?.restartCount ?? 0
        lastExit = status.flatMap { status in
            guard status.hasLastExit else { return nil }
            let exit = status.lastExit
            return Exit(
                code: exit.code,
                signal: exit.signal,
                at: Self.date(exit.atUnixMs),
                lastStderr: exit.lastStderr,
                requested: exit.requested
            )
        }
        config = bot.config
        createdAt = bot.createdAt
        placementEpoch = bot.placementEpoch
    }

    private static func date(_ milliseconds: UInt64) -> Date? {
        milliseconds > 0 ? Date(unixMilliseconds: Int64(clamping: milliseconds)) : nil
    }
}
