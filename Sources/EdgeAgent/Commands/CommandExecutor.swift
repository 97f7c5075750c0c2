import Logging
import ServiceLifecycle
import SwiftProtobuf
import WireFormat

/// Carries out what the hub asks for, each command once, whatever becomes of the link meanwhile.
///
/// A command is noted in the journal before it is begun and its result before it is told. Of one that was begun and has
/// no result (the agent died) the outcome is not known. It is begun again only where that can do no harm: starting,
/// stopping and removing a bot are wishes for a state, a delivery has its own record of what reached the bot, and others
/// may have been declared repeatable. Any other is answered with "unknown" and not run.
actor CommandExecutor: CommandHandler, Service {
    /// Commands waiting for their turn; far more than the hub keeps under way at once.
    private static let queueLimit = 256
    /// Results also kept in memory, for when the journal could not take them.
    private static let recentLimit = 256

    private let journal: Journal
    private let bots: BotFleet
    private let workspaces: (any WorkspaceInstaller)?
    private let logger: Logger
    private let queue: AsyncStream<WireCommand>
    private let enqueue: AsyncStream<WireCommand>.Continuation
    private nonisolated let finished = Signal()
    private var running: Set<String> = []
    private var recent: [String: WireCommandResult] = [:]
    private var recentOrder: [String] = []

    init(journal: Journal, bots: BotFleet, workspaces: (any WorkspaceInstaller)? = nil, logger: Logger) {
        self.journal = journal
        self.bots = bots
        self.workspaces = workspaces
        self.logger = logger
        (queue, enqueue) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.queueLimit))
    }

    /// Runs commands side by side until the agent stops; those under way are finished first.
    func run() async throws {
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                for await command in queue {
                    group.addTask { await self.execute(command) }
                }
            }
        } onGracefulShutdown: {
            self.enqueue.finish()
        }
    }

    func handle(_ command: WireCommand) async throws -> WireCommandResult {
        let id = command.commandID
        while true {
            let ticket = finished.ticket
            if let result = recent[id] { return result }
            if running.insert(id).inserted, let result = await begin(command) {
                running.remove(id)
                return result
            }
            try await finished.wait(after: ticket)
        }
    }

    /// - Returns: the result where there is one already; nil where the command is on its way.
    private func begin(_ command: WireCommand) async -> WireCommandResult? {
        do {
            switch try await journal.beginCommand(command) {
            case .finished(let result): return result
            case .interrupted where !Self.canBeginAgain(command): return await unknown(command)
            case .interrupted, .run: break
            }
        } catch  where Self.needsNoReceipt(command) {
            logger.warning(
                "a command could not be noted and is carried out all the same",
                metadata: ["command_id": "\(command.commandID)", "reason": "\(error)"]
            )
        } catch {
            return .failure(command, "journal_unavailable", "the node could not note the command: \(error)")
        }
        if case .enqueued = enqueue.yield(command) { return nil }
        return .failure(command, "agent_busy", "the node has too many commands waiting, or is stopping; try again")
    }

    /// On a full disk it must still be possible to stop bots and to remove what takes the space; doing either twice does no
    /// harm.
    private static func needsNoReceipt(_ command: WireCommand) -> Bool {
        switch command.body {
        case .stopBot, .removeBot, .discardTransfer: true
        default: false
        }
    }

    private static func canBeginAgain(_ command: WireCommand) -> Bool {
        switch command.body {
        case .startBot, .stopBot, .removeBot, .deliverMessage: true
        default: command.repeatable
        }
    }

    private func unknown(_ command: WireCommand) async -> WireCommandResult {
        let result = WireCommandResult.with {
            $0.commandID = command.commandID
            $0.outcome = .unknown
            $0.errorCode = "outcome_unknown"
            $0.message = "the agent ended while it carried this out; it was begun and is not begun again"
        }
        await keep(result)
        return result
    }

    func confirm(_ commandID: String) async {
        // Kept a little longer otherwise, no more.
        try? await journal.confirmCommand(commandID)
    }

    private func keep(_ result: WireCommandResult) async {
        do {
            try await journal.finishCommand(result.commandID, result)
        } catch {
            logger.error(
                "the result of a command could not be kept",
                metadata: ["command_id": "\(result.commandID)", "reason": "\(error)"]
            )
        }
    }

    private func execute(_ command: WireCommand) async {
        var result = await perform(command)
        result.commandID = command.commandID
        await keep(result)
        remember(result)
        running.remove(command.commandID)
        finished.wake()
    }

    private func remember(_ result: WireCommandResult) {
        recent[result.commandID] = result
        recentOrder.append(result.commandID)
        if recentOrder.count > Self.recentLimit { recent[recentOrder.removeFirst()] = nil }
    }

    private func perform(_ command: WireCommand) async -> WireCommandResult {
        let startedAt = Journal.wallClock()
        var result: WireCommandResult
        do {
            switch command.body {
            case .startBot(let start): result = try await bots.start(start.bot)
            case .stopBot(let stop):
                result = try await bots.stop(
                    stop.botID,
                    graceMilliseconds: stop.graceMs,
                    below: stop.placementEpoch,
                    before: stop.hasNext ? stop.next : nil
                )
            case .removeBot(let remove):
                result = try await bots.remove(
                    remove.botID,
                    keeping: BotRemains(remove),
                    through: remove.placementEpoch
                )
            case .deliverMessage(let message): result = await bots.deliver(message)
            case .installWorkspace(let install):
                result = await workspaces?.install(install) ?? .unknown(command)
            case .discardTransfer(let discard):
                // Where it cannot be noted now a start of the bot says it again.
                await bots.notePlacement(discard.botID, discard.placementEpoch)
                result = await workspaces?.discard(discard) ?? .unknown(command)
            case .measureWorkspace(let measure):
                result = await workspaces?.measure(measure) ?? .unknown(command)
            // What is asked of the node itself never comes this far.
            case .rotateToken, .inspectNode, .checkLaunch, .describeBot, nil: result = .unknown(command)
            }
        } catch {
            result = .failure(command, error.code, error.message)
            if error.code == RuntimeError.Code.olderEpoch.rawValue, let botID = command.namedBot {
                result.highestPlacementEpoch = await bots.highestEpoch(botID)
            }
        }
        result.startedAtUnixMs = startedAt
        result.finishedAtUnixMs = Journal.wallClock()
        return result
    }
}

extension BotRemains {
    fileprivate init(_ command: WireRemoveBot) {
        self = []
        if command.keepWorkspace { insert(.workspace) }
        if command.keepLog { insert(.log) }
    }
}

extension WireCommandResult {
    fileprivate static func unknown(_ command: WireCommand) -> WireCommandResult {
        .failure(
            command,
            "command_unknown",
            "this agent (\(AgentVersion.current)) does not know the command; upgrade it"
        )
    }

    static func failure(_ command: WireCommand, _ code: String, _ message: String) -> WireCommandResult {
        .with {
            $0.commandID = command.commandID
            $0.outcome = .failed
            $0.errorCode = code
            $0.message = message
        }
    }
}
