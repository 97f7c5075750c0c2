import SwiftProtobuf
import WireFormat

/// Answers what the hub asks of the node itself; everything else goes on to the next handler.
///
/// Such a command leaves no receipt: it is never queued and never repeated by itself, and a token has no business in the
/// journal.
struct NodeCommandHandler: CommandHandler {
    let inspection: NodeInspection
    let launches: LaunchInspection
    let credentials: CredentialSource
    let next: any CommandHandler

    func handle(_ command: WireCommand) async throws -> WireCommandResult {
        let startedAt = Journal.wallClock()
        var result: WireCommandResult
        // Before anything makes a path or a record of it.
        if let botID = command.namedBot, !BotName.isValid(botID) {
            return .failure(command, RuntimeError.Code.invalidBotID.rawValue, BotName.problem(botID))
        }
        switch command.body {
        case .inspectNode(let inspect): result = await inspection.run(inspect)
        case .rotateToken(let rotate): result = Self.store(rotate, command, credentials)
        case .checkLaunch(let check): result = await launches.run(check, command)
        case .describeBot(let describe): result = await launches.describe(describe, command)
        default: return try await next.handle(command)
        }
        result.commandID = command.commandID
        result.startedAtUnixMs = startedAt
        result.finishedAtUnixMs = Journal.wallClock()
        return result
    }

    func confirm(_ commandID: String) async { await next.confirm(commandID) }

    private static func store(
        _ rotate: WireRotateToken,
        _ command: WireCommand,
        _ credentials: CredentialSource
    ) -> WireCommandResult {
        do {
            try credentials.storeNext(Secret(rotate.token))
            return .with { $0.outcome = .done }
        } catch {
            return .failure(command, "token_not_stored", error.message)
        }
    }
}

extension WireCommand {
    /// The bot a command is about; nil where it is about the node, or about what this agent does not know.
    var namedBot: String? {
        switch body {
        case .startBot(let start): start.bot.botID
        case .stopBot(let stop): stop.botID
        case .deliverMessage(let message): message.botID
        case .removeBot(let remove): remove.botID
        case .installWorkspace(let install): install.botID
        case .discardTransfer(let discard): discard.botID
        case .measureWorkspace(let measure): measure.botID
        case .describeBot(let describe): describe.botID
        case .rotateToken, .inspectNode, .checkLaunch, nil: nil
        }
    }
}

/// Whether a bot could be started, and how one was, for the hub that asks.
struct LaunchInspection: Sendable {
    let bots: BotFleet

    func run(_ check: WireCheckLaunch, _ command: WireCommand) async -> WireCommandResult {
        do throws(RuntimeError) {
            try await bots.check(check)
            return .with { $0.outcome = .done }
        } catch {
            return .failure(command, error.code, error.message)
        }
    }

    func describe(_ describe: WireDescribeBot, _ command: WireCommand) async -> WireCommandResult {
        do throws(RuntimeError) {
            let specification = try await bots.specification(of: describe.botID)
            let present = await bots.present(describe.botID)
            let highest = await bots.highestEpoch(describe.botID)
            return .with {
                $0.outcome = .done
                $0.highestPlacementEpoch = highest
                $0.botSpecification = specification
                if let present { ($0.botStatus, $0.botStatusRevision) = (present.status, present.revision) }
            }
        } catch {
            return .failure(command, error.code, error.message)
        }
    }
}

/// How the node is now, for the hub that asks.
struct NodeInspection: Sendable {
    let telemetry: TelemetryFeed
    let introduction: Introduction

    func run(_ inspect: WireInspectNode) async -> WireCommandResult {
        let begin = ContinuousClock.now
        var report = WireNodeReport()
        report.receivedAtUnixMs = Journal.wallClock()
        let sample = await telemetry.sample()
        report.resources = sample.resources
        report.bots = sample.bots
        report.policy = introduction.policy
        if inspect.probeRuntimes {
            report.runtimeProfiles = await introduction.runtimeProfiles()
            report.capabilities = introduction.capabilities(report.runtimeProfiles)
        }
        report.sentAtUnixMs = Journal.wallClock()
        report.workedUs = UInt64(saturating: max(0, (ContinuousClock.now - begin) / .microseconds(1)))
        return .with {
            $0.outcome = .done
            $0.nodeReport = report
        }
    }
}
