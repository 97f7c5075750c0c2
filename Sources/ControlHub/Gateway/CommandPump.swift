import Logging
import SwiftProtobuf
import Synchronization
import WireFormat

/// Sends a node's commands over one session and takes their results.
///
/// What is still open when a session ends is sent again over the next one; the agent answers what it has done from its
/// receipts. Commands for different bots run side by side. For one bot, starting, stopping and removing go in order,
/// and a message waits for those before it; a message that waits for its bot does not hold up a stop. Messages have places of
/// their own, so that however many bots are slow to take theirs, what controls bots goes at once.
struct CommandPump: Sendable {
    /// Messages under way at once on one node; with the rest they leave half of a session's streams to others.
    static let messageLimit = 96
    /// Other commands under way at once.
    static let controlLimit = 32
    /// Before a command is tried again that the agent or the database would not take.
    private static let retryDelay = Duration.seconds(1)

    let node: NodeID
    let epoch: UInt64
    let session: HubSession
    let commands: CommandOperations
    let logger: Logger
    private let underWay = UnderWay()

    init(node: NodeID, epoch: UInt64, session: HubSession, commands: CommandOperations, logger: Logger) {
        self.node = node
        self.epoch = epoch
        self.session = session
        self.commands = commands
        self.logger = logger
    }

    /// Takes note of a report of the bots' states that is about to be stored.
    func reported(revision: UInt64) { underWay.note(revision: revision) }

    /// Takes note of a new command.
    ///
    /// - Returns: whether `run()` is to be called now. It is not while it runs, or when the session is over.
    func wake() -> Bool { underWay.wake() }

    /// Carries all there is; returns when nothing is left, so that a node without commands costs no task. Also ends
    /// with the session and when the task is cancelled.
    func run() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            repeat {
                let ticket = underWay.changed.ticket
                let busy = underWay.look()
                // Nothing goes over a session that is over, and what is open would be looked at again and again.
                guard session.ending == nil else { return }
                let pending = try await commands.next(for: node, limit: 2 * Self.controlLimit)
                for command in Self.chosen(pending, busy: busy) {
                    underWay.insert(command)
                    group.addTask {
                        await carry(command)
                        underWay.remove(command.id)
                    }
                }
                if !underWay.isEmpty { try await underWay.changed.wait(after: ticket) }
            } while !underWay.rest()
        }
    }

    /// Which commands are sent now: as many as have a place, control first.
    ///
    /// - Parameters:
    ///   - pending: oldest first.
    ///   - busy: those already under way, with whether they are messages.
    static func chosen<Pending: StartableCommand>(_ pending: [Pending], busy: [CommandID: Bool]) -> [Pending] {
        let startable = startable(pending, busy: Set(busy.keys))
        let busyMessages = busy.values.count { $0 }
        let control = startable.filter { !$0.isMessage }.prefix(max(0, controlLimit - (busy.count - busyMessages)))
        let messages = startable.filter { $0.isMessage }.prefix(max(0, messageLimit - busyMessages))
        return Array(control) + Array(messages)
    }

    /// Which commands may be sent now.
    ///
    /// - Parameters:
    ///   - outstanding: of each bot at least its first message and its first other command, oldest first.
    ///   - busy: those already under way.
    static func startable<Pending: StartableCommand>(_ outstanding: [Pending], busy: Set<CommandID>) -> [Pending] {
        var changing: Set<BotID> = []
        var talking: Set<BotID> = []
        return outstanding.filter { command in
            guard let bot = command.botID else { return !busy.contains(command.id) }
            defer {
                if command.isMessage { talking.insert(bot) } else { changing.insert(bot) }
            }
            if busy.contains(command.id) || changing.contains(bot) { return false }
            return !(command.isMessage && talking.contains(bot))
        }
    }

    private func carry(_ command: PendingCommand) async {
        do {
            // Cancelled or expired in the meantime: then it is not to be sent.
            guard let wire = try await commands.take(command.id, for: node) else { return }
            let stream = try session.openCommandStream(wire)
            guard var result = try await stream.receive(WireCommandResult.self) else {
                throw WireFormatError(.streamFinished, "the agent answered nothing")
            }
            // Reports go before results, so a state that comes along with a result may be older than what is known.
            if underWay.newestReport > result.botStatusRevision { result.clearBotStatus() }
            try await commands.finish(result, from: node, epoch: epoch)
        } catch is CancellationError {
            return
        } catch let error as HubError where error.code == .staleSession {
            session.close(.replaced, reason: "a newer session took over")
        } catch let error as WireFormatError where error.resetCode == .unsupported {
            await fail(command, "command_unknown", "the node's agent is too old for this command; upgrade it")
        } catch let error as WireFormatError where error.code == .messageTooLarge {
            await fail(command, "command_too_large", error.message)
        } catch let error as WireFormatError where error.code == .sessionClosed {
            return
        } catch {
            logger.warning(
                "a command could not be carried out, will try again",
                metadata: ["command_id": "\(command.id)", "reason": "\(error)"]
            )
            // Cut short only when the session ends.
            try? await Task.sleep(for: Self.retryDelay)
        }
    }

    private func fail(_ command: PendingCommand, _ code: String, _ message: String) async {
        do {
            try await commands.finish(
                WireCommandResult.with {
                    $0.commandID = command.id.rawValue
                    $0.outcome = .failed
                    $0.errorCode = code
                    $0.message = message
                },
                from: node,
                epoch: epoch
            )
        } catch {
            logger.warning(
                "a command's failure could not be stored",
                metadata: ["command_id": "\(command.id)", "reason": "\(error)"]
            )
        }
    }
}

/// The commands on their way over one session.
private final class UnderWay: Sendable {
    private struct State {
        /// With whether they are messages.
        var commands: [CommandID: Bool] = [:]
        var isRunning = false
        /// A command was noted that the running pump has not looked for yet.
        var isWoken = false
        /// Of the reports of the bots' states.
        var newestReport: UInt64 = 0
    }

    private let state = Mutex(State())
    /// Given when there is something new to look at.
    let changed = Signal()

    var newestReport: UInt64 { state.withLock { $0.newestReport } }

    func note(revision: UInt64) { state.withLock { $0.newestReport = max($0.newestReport, revision) } }

    var isEmpty: Bool { state.withLock { $0.commands.isEmpty } }

    /// What is under way; what was noted so far is looked at from here on.
    func look() -> [CommandID: Bool] {
        state.withLock { state in
            state.isWoken = false
            return state.commands
        }
    }

    func insert(_ command: PendingCommand) { state.withLock { $0.commands[command.id] = command.isMessage } }

    func remove(_ id: CommandID) {
        state.withLock { state in
            state.commands[id] = nil
            // What waited for this one can go now.
            state.isWoken = true
        }
        changed.wake()
    }

    /// Whether the pump has to be started.
    func wake() -> Bool {
        let mustStart = state.withLock { state in
            state.isWoken = true
            defer { state.isRunning = true }
            return !state.isRunning
        }
        changed.wake()
        return mustStart
    }

    /// Stops the pump where nothing is under way and nothing new was noted. False: look again.
    func rest() -> Bool {
        state.withLock { state in
            guard state.commands.isEmpty, !state.isWoken else { return false }
            state.isRunning = false
            return true
        }
    }
}
