@testable import ControlHub

/// Where bots are: what operators want of it, and what nodes do.
extension Simulation {
    /// An operator moves a bot without asking its node.
    func moveByForce(_ bot: String, to target: NodeMachine) {
        let number = nextNumber()
        hub?.ask { [weak self] record, date in
            guard let self, !self.moving.contains(bot), record.place(of: bot)?.node != target.id else { return nil }
            guard let asked = record.moveByForce(bot, to: target.id, number: number, at: date) else { return nil }
            self.world.note("\(bot) is moved by force to \(target.id)", 73, number, target.number)
            // They run on until they are told.
            for node in self.nodes where node !== target {
                for copy in node.bots where copy.id == bot { self.checker.excuse(copy.label) }
            }
            if let copy = target.bot(bot) { self.checker.own(copy) }
            (self.places[bot], self.placedAt[bot]) = (record.place(of: bot), self.world.now)
            return asked
        }
    }

    /// A node starts a bot because the hub wants it.
    func begin(_ bot: String, on machine: NodeMachine, epoch: UInt64, for command: String) {
        let known = machine.bot(bot)
        let copy = known ?? machine.add(bot)
        copy.epoch = epoch
        if let place = places[bot], place == (machine.id, epoch) { checker.trust(copy.label) }
        // It was on its way when the bot was moved.
        if let placedAt = placedAt[bot], epoch < places[bot]?.epoch ?? 0, checker.wasHanded(command, before: placedAt) {
            checker.excuse(copy.label)
        }
        if !copy.isRunning {
            if !checker.isExcused(copy.label) {
                checker.begins(copy, nodes.filter { $0 !== machine }.compactMap { $0.bot(bot) }.filter(\.isRunning))
            }
            copy.crash()
            copy.isRunning = true
        }
        if copy.isRemoved { copy.receive(workspace: 0) }
        guard known == nil else { return }
        machine.agent?.follow(copy)
        workload.begin(machine, copy)
    }

    /// A node stops a bot because the hub wants it.
    func stop(_ bot: SimulatedBot, on machine: NodeMachine, for command: String) {
        if bot.isRunning, let place = places[bot.id], place == (machine.id, bot.epoch) {
            // Only a move stops the bot where it is; whoever else does takes it for something else.
            checker.stops(bot, isWanted: command.hasPrefix("halt-") || command.hasPrefix("stop-"))
        }
        bot.stop()
    }

    /// An operator moves a bot with its workspace: it is stopped, carried over, started at the target and removed at the source.
    func move(_ bot: String, to target: NodeMachine) {
        guard let hub, let source = nodes.first(where: { $0.id == record.place(of: bot)?.node }), source !== target,
            let copy = source.bot(bot), moving.insert(bot).inserted
        else { return }
        let number = nextNumber()
        let name = "halt-\(number)"
        world.note("\(bot) is to be moved to \(target.id)", 74, number, target.number)
        onEnd[name] = { [weak self] state in
            guard let self else { return }
            guard state == .done, !copy.isRunning, !copy.isRemoved else {
                self.moving.remove(bot)
                self.startAgain(bot, number)
                return
            }
            self.carry(bot, copy, from: source, to: target, number)
        }
        hub.ask { record, date in record.stop(bot, as: name, at: date) }
        // Whatever comes of it: a hub that was put back may have forgotten it.
        world.after(.seconds(60)) { [weak self] in
            guard let self, self.onEnd.removeValue(forKey: name) != nil else { return }
            self.moving.remove(bot)
            self.startAgain(bot, number)
        }
    }

    private func carry(
        _ bot: String,
        _ copy: SimulatedBot,
        from source: NodeMachine,
        to target: NodeMachine,
        _ number: Int
    ) {
        guard let hub else {
            moving.remove(bot)
            return
        }
        hub.ask { [weak self] record, date in
            guard let self else { return nil }
            defer { self.moving.remove(bot) }
            guard !copy.isRunning, !copy.isRemoved,
                let asked = record.move(bot, from: source.id, to: target.id, number: number, at: date)
            else { return nil }
            (self.places[bot], self.placedAt[bot]) = (record.place(of: bot), self.world.now)
            self.world.note("\(bot) is moved to \(target.id)", 75, number, target.number)
            let known = target.bot(bot)
            let new = known ?? target.add(bot)
            if new.isRunning { self.checker.excuse(new.label) }
            self.checker.own(new)
            new.receive(workspace: copy.workspace)
            self.checker.carried(copy)
            if known == nil {
                target.agent?.follow(new)
                self.workload.begin(target, new)
            }
            return asked
        }
    }

    private func startAgain(_ bot: String, _ number: Int) {
        hub?.ask { record, date in
            record.start(bot, as: "again-\(number)", lasting: .seconds(600), at: date)
        }
    }

    /// The record is to be put back: what the sources of moves were not told yet nobody tells them any more.
    func tolerateUntold() {
        for (bot, place) in places {
            let isUntold = nodes.contains { node in
                node.id != place.node && node.bot(bot).map { !$0.isRemoved } == true
                    && node.journal.highestEpoch(bot) < place.epoch
            }
            guard isUntold else { continue }
            for copy in nodes.compactMap({ $0.bot(bot) }) { checker.tolerate(copy.label) }
        }
    }
}
