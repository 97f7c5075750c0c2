import SwiftProtobuf
import WireFormat

/// Carries out commands, each once, whatever becomes of the link.
///
/// Stands in for `CommandExecutor` and `MessageDelivery`, step for step: receipt, then for a message the note of launch
/// and log offset, the hand-over, the note that it was taken, the result. Every step is a transaction of its own with a
/// chance of `kill -9` after it.
final class CommandExecution {
    private unowned let process: AgentProcess
    private var running: Set<String> = []
    private var recent: [String: WireCommandResult] = [:]
    private var waiting: [String: [(WireCommandResult) -> Void]] = [:]

    init(_ process: AgentProcess) {
        self.process = process
    }

    func handle(_ command: WireCommand, on stream: UInt32, _ driver: SessionDriver<AgentSessionMachine>) {
        let id = command.commandID
        let answer: (WireCommandResult) -> Void = { result in
            guard let bytes: [UInt8] = try? result.serializedBytes() else { return }
            _ = driver.send(bytes, on: stream)
            driver.finish(stream)
            driver.release(stream)
        }
        if let result = recent[id] {
            answer(result)
            return
        }
        waiting[id, default: []].append(answer)
        process.simulation.checker.limit(waiting.count, 256, "commands under way on \(process.machine.id)")
        guard running.insert(id).inserted else { return }
        process.transact {
            $0.beginCommand(id)
        } then: { [weak self] start in
            guard let self else { return }
            switch start {
            case .finished(let result): self.finished(id, result)
            case .run, .interrupted: self.perform(command)
            }
        }
    }

    private func perform(_ command: WireCommand) {
        switch command.body {
        case .startBot(let start):
            begin(command, start.bot.botID, start.bot.placementEpoch)
        case .removeBot(let removal):
            remove(command, removal.botID, through: removal.placementEpoch)
        case .stopBot(let stop):
            process.transact {
                if stop.placementEpoch > 0 { $0.raiseEpoch(stop.botID, to: stop.placementEpoch) }
            } then: { [weak self] in
                guard let self else { return }
                if let bot = self.process.machine.bot(stop.botID) {
                    self.process.simulation.stop(bot, on: self.process.machine, for: command.commandID)
                }
                self.process.simulation.checker.carriedOut(command.commandID)
                self.finish(command, .done)
            }
        case .installWorkspace(let request):
            onDisk(command) { $0.install(request, then: $1) }
        case .discardTransfer(let request):
            if request.placementEpoch > 0 {
                process.transact {
                    $0.raiseEpoch(request.botID, to: request.placementEpoch)
                } then: { [weak self] in
                    self?.onDisk(command) { $0.discard(request, then: $1) }
                }
            } else {
                onDisk(command) { $0.discard(request, then: $1) }
            }
        case .deliverMessage(let message):
            deliver(command, message, triesLeft: 20)
        default:
            finish(command, .failed, "command_unknown")
        }
    }

    /// As `BotFleet` does: not under a placement that is older than one that was seen.
    private func begin(_ command: WireCommand, _ bot: String, _ epoch: UInt64) {
        process.transact { journal in
            guard epoch >= journal.highestEpoch(bot) else { return false }
            journal.raiseEpoch(bot, to: epoch)
            return true
        } then: { [weak self] isNewEnough in
            guard let self else { return }
            guard isNewEnough else {
                self.finish(command, .failed, "placement_epoch_too_old")
                return
            }
            self.process.simulation.begin(bot, on: self.process.machine, epoch: epoch, for: command.commandID)
            self.process.simulation.checker.carriedOut(command.commandID)
            self.finish(command, .done)
        }
    }

    /// As `BotFleet` does: not what was placed here since.
    private func remove(_ command: WireCommand, _ bot: String, through epoch: UInt64) {
        let machine = process.machine
        process.transact {
            $0.raiseEpoch(bot, to: epoch)
        } then: { [weak self] in
            guard let self else { return }
            let copy = machine.bot(bot).flatMap { $0.isRemoved ? nil : $0 }
            if let copy {
                guard copy.epoch <= epoch else {
                    self.finish(command, .failed, "placement_epoch_too_old")
                    return
                }
                self.process.simulation.checker.removes(copy, machine.disk?.listing(bot))
                copy.stop()
            }
            if let problem = self.process.serving?.remove(bot) {
                self.process.world.note("\(bot) stays on \(machine.id) in part: \(problem)", 79, machine.number)
                self.finish(command, .failed, "storage_failed")
                return
            }
            copy?.remove()
            self.process.simulation.checker.carriedOut(command.commandID)
            self.finish(command, .done)
        }
    }

    /// What is done to files, between two transactions as everything else.
    private func onDisk(
        _ command: WireCommand,
        _ body: @escaping (WorkspaceServing, @escaping (WireCommandResult) -> Void) -> Void
    ) {
        process.transact { _ in
        } then: { [weak self] in
            guard let self, let serving = self.process.serving else { return }
            body(serving) { [weak self] result in
                guard let self, self.process.isAlive else { return }
                let machine = self.process.machine
                if result.outcome == .done {
                    if case .installWorkspace(let request) = command.body { self.installed(request, on: machine) }
                    self.process.simulation.checker.carriedOut(command.commandID)
                }
                self.process.world.note("\(command.commandID): \(result.outcome) \(result.message)", 80, machine.number)
                self.finish(command, result.outcome, result.errorCode)
            }
        }
    }

    private func installed(_ request: WireInstallWorkspace, on machine: NodeMachine) {
        guard let disk = machine.disk else { return }
        let checker = process.simulation.checker
        if !request.revert { checker.files.installed(request.transferID, disk.listing(request.botID)) }
        if let copy = machine.bot(request.botID), !copy.isRemoved {
            copy.receive(workspace: disk.remembered(request.botID))
            checker.isCopy(copy)
        }
    }

    private func finish(_ command: WireCommand, _ outcome: WireCommandResult.Outcome, _ errorCode: String = "") {
        let wall = process.machine.wall.unixMilliseconds(process.world)
        let bot = command.bot.flatMap(process.machine.bot)
        process.transact { journal in
            let result = WireCommandResult.with {
                ($0.commandID, $0.outcome, $0.errorCode) = (command.commandID, outcome, errorCode)
                ($0.startedAtUnixMs, $0.finishedAtUnixMs) = (wall, wall)
                if let bot { $0.botStatus = bot.status }
                if case .deliverMessage(let message) = command.body, let known = journal.delivery(message.messageID) {
                    $0.deliveredLaunchID = known.launchID
                    $0.deliveredLogOffset = UInt64(clamping: known.logOffset)
                }
            }
            journal.finishCommand(command.commandID, result)
            return result
        } then: { [weak self] result in
            self?.recent[command.commandID] = result
            self?.finished(command.commandID, result)
        }
    }

    private func finished(_ id: String, _ result: WireCommandResult) {
        running.remove(id)
        for answer in waiting.removeValue(forKey: id) ?? [] { answer(result) }
    }

    // MARK: - Messages

    private func deliver(_ command: WireCommand, _ message: WireDeliverMessage, triesLeft: Int) {
        guard let bot = process.machine.bot(message.botID) else {
            finish(command, .failed, "bot_not_found")
            return
        }
        let id = message.messageID
        process.transact {
            $0.delivery(id)
        } then: { [weak self] earlier in
            guard let self else { return }
            if let earlier, earlier.isAccepted {
                self.finish(command, .done)
            } else if let earlier, earlier.launchID != bot.launchID {
                self.judge(earlier, command, id, bot)
            } else if !bot.isRunning || self.process.world.chance(self.process.simulation.plan.botBusyPercent) {
                self.again(command, message, bot, isNoted: earlier != nil, triesLeft)
            } else if earlier != nil || self.process.simulation.has(.actsBeforeNoting) {
                self.hand(command, message, bot, noted: earlier)
            } else {
                let note = JournalModel.Delivery(
                    launchID: bot.launchID,
                    logOffset: bot.log.count,
                    isAccepted: false
                )
                self.process.transact {
                    $0.saveDelivery(id, note)
                } then: { [weak self] in
                    // The bot may be another by now; then nothing was handed over yet under this note.
                    self?.hand(command, message, bot, noted: note)
                }
            }
        }
    }

    /// The bot has ended since an earlier attempt: its log tells, or nobody.
    private func judge(_ earlier: JournalModel.Delivery, _ command: WireCommand, _ id: String, _ bot: SimulatedBot) {
        guard bot.mentions(id, from: earlier.logOffset) else {
            finish(command, .unknown)
            return
        }
        var accepted = earlier
        accepted.isAccepted = true
        process.transact {
            $0.saveDelivery(id, accepted)
        } then: { [weak self] in
            self?.finish(command, .done)
        }
    }

    private func again(
        _ command: WireCommand,
        _ message: WireDeliverMessage,
        _ bot: SimulatedBot,
        isNoted: Bool,
        _ triesLeft: Int
    ) {
        guard triesLeft > 0 else {
            finish(command, isNoted ? .unknown : .failed, isNoted ? "" : "bot_not_ready")
            return
        }
        process.later(.seconds(1)) { process in
            process.executor?.deliver(command, message, triesLeft: triesLeft - 1)
        }
    }

    /// The request to the bot, its answer, and the note of that.
    private func hand(
        _ command: WireCommand,
        _ message: WireDeliverMessage,
        _ bot: SimulatedBot,
        noted: JournalModel.Delivery?
    ) {
        let id = message.messageID
        let launch = noted?.launchID ?? bot.launchID
        let world = process.world
        // The request travels in its own time; an agent that is killed meanwhile does not call it back.
        world.after(world.pick(50...2000)) { [weak self, weak process, simulation = process.simulation] in
            guard bot.isRunning, bot.launchID == launch else {
                // That launch's address takes no connections any more.
                self?.deliver(command, message, triesLeft: 20)
                return
            }
            if bot.take(id, writesAbout: world.chance(80)) {
                simulation.checker.ran(id, by: bot)
                simulation.workload.taken(id, by: bot)
            }
            world.note("\(bot.id) takes \(id)", 20)
            process?.logChanged(bot)
            process?.later(world.pick(50...2000)) { process in
                let accepted = JournalModel.Delivery(
                    launchID: launch,
                    logOffset: noted?.logOffset ?? 0,
                    isAccepted: true
                )
                process.transact {
                    $0.saveDelivery(id, accepted)
                } then: {
                    process.executor?.finish(command, .done)
                }
            }
        }
    }
}

extension WireCommand {
    /// Whom it is about.
    var bot: String? {
        switch body {
        case .startBot(let start): start.bot.botID
        case .stopBot(let stop): stop.botID
        case .removeBot(let remove): remove.botID
        case .deliverMessage(let message): message.botID
        default: nil
        }
    }
}
