import Foundation
import Logging
import ServiceLifecycle
import SwiftProtobuf
import WireFormat

/// Looks in bots' logs for answers that did not come as packets: because the node had to give packets up while the hub
/// was away, because its journal was damaged, or because this database was restored from an older copy.
struct TurnRecoveryService: Service {
    /// Logs are read one after the other on each of so many nodes.
    private static let workers = 4
    /// Of one bot's log; what lies further ahead of the message is not looked at.
    private static let maximumBytes = 64 << 20
    /// Packets taken from one log at once.
    private static let maximumPackets = 5_000
    /// For one bot's log; nobody waits for it, but a node that hangs must not hold a worker for ever.
    private static let readingLimit = Duration.seconds(120)
    /// What turns consist of. What a bot says about itself is not made undone or repeated by what is found late.
    private static let turnTypes: Set<String> = ["user_message", "progress", "tool", "assistant_message", "notice"]

    let packets: MonitorPacketOperations
    let channel: any AgentChannel
    let logger: Logger

    private var clock: HubClock { packets.clock }

    func run() async throws {
        // Ends only because the hub does.
        try? await cancelWhenGracefulShutdown {
            try await withThrowingDiscardingTaskGroup { group in
                for _ in 0..<Self.workers {
                    group.addTask {
                        while true { await recover(try await packets.recoveries.next(clock)) }
                    }
                }
            }
        }
    }

    /// Looks for every turn of a node that has no answer.
    func recover(_ node: NodeID) async {
        do {
            let turns = try await packets.recovered.openTurns(on: node, at: clock.horizon())
            for (bot, turns) in Dictionary(grouping: turns, by: \.bot) {
                try await recover(turns, of: bot, on: node)
            }
        } catch is CancellationError {
        } catch {
            // The next session of the node begins with this again.
            logger.info(
                "answers were not looked for in a node's logs",
                metadata: ["node_id": "\(node)", "reason": "\(error)"]
            )
        }
    }

    private func recover(_ turns: [RecoveredPacketStore.OpenTurn], of bot: BotID, on node: NodeID) async throws {
        guard let start = turns.map(\.logOffset).min(),
            let reach = try await packets.recovered.reach(of: bot, on: node), reach > start
        else { return }
        var request = WireLogRequest()
        request.botID = bot.rawValue
        request.start = .fromOffset(start)
        request.toOffset = reach + 1
        request.includePackets = true
        request.background = true
        let log = try await channel.logs(request, on: node)
        defer { log.cancel() }
        let found = try await withThrowingTaskGroup(of: Findings?.self) { group in
            group.addTask { try await Self.search(log, through: reach, for: turns, of: bot) }
            group.addTask { [clock] in
                try await clock.sleep(clock.now() + Self.readingLimit)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
        guard let found else {
            throw HubError(.agentTimeout, "The node did not send the log of bot \(bot) in time.")
        }
        try await packets.recover(found.packets, of: turns, hole: found.hole, from: node)
    }

    private struct Findings {
        var packets: [WireMonitorPacket] = []
        /// The log is incomplete before this place.
        var hole: UInt64?
    }

    private static func search(
        _ log: LogSubscription,
        through reach: UInt64,
        for turns: [RecoveredPacketStore.OpenTurn],
        of bot: BotID
    ) async throws -> Findings {
        let wanted = Set(turns.map(\.message.rawValue))
        var found = Findings()
        var launch = turns.min { $0.logOffset < $1.logOffset }?.launch ?? ""
        var bytes = 0
        for try await chunk in log {
            if chunk.missingBytes > 0 { found.hole = chunk.lines.first?.offset ?? chunk.nextOffset }
            for line in chunk.lines {
                bytes += line.text.count
                guard line.offset <= reach, bytes <= maximumBytes, found.packets.count < maximumPackets else {
                    return found
                }
                let json = MonitorPacketOperations.parse(line.text)
                switch line.source {
                case .supervisor:
                    // What it stands for would stand where it stands itself: also behind a turn that was begun right there.
                    if json["event"]?.word == "gap" { found.hole = line.offset + 1 }
                    if json["event"]?.word == "started" { launch = json["launch_id"]?.stringValue ?? launch }
                case .packet:
                    let packet = packet(line, json, bot: bot, launch: launch)
                    let isNamed = wanted.contains(packet.messageID)
                    // A notice that names nobody ends whatever is open, which cannot be told so late.
                    let isTaken = isNamed || (packet.messageID.isEmpty && packet.type != "notice")
                    if isTaken, turnTypes.contains(packet.type) { found.packets.append(packet) }
                case .stdout, .stderr, .unspecified, .UNRECOGNIZED:
                    break
                }
            }
        }
        return found
    }

    /// As the agent would have sent it.
    private static func packet(_ line: WireLogLine, _ json: JSONValue, bot: BotID, launch: String) -> WireMonitorPacket
    {
        func text(_ name: String) -> String { json[name]?.stringValue ?? "" }
        func number(_ name: String) -> UInt64 { json[name]?.integerValue.flatMap { UInt64(exactly: $0) } ?? 0 }
        return .with {
            $0.botID = bot.rawValue
            $0.sequence = line.offset
            $0.logOffset = line.offset
            $0.launchID = launch
            $0.botSequence = number("seq")
            $0.type = text("type")
            $0.conversationID = text("conversation_id")
            $0.messageID = text("message_id")
            $0.turnID = text("turn_id")
            $0.botTimeUnixMs = number("ts")
            $0.receivedAtUnixMs = line.atUnixMs
            $0.json = line.text
        }
    }
}
