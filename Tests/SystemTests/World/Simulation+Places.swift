@testable import ControlHub

/// Where bots are: what operators want of it, and what nodes do.
extension Simulation {
    /// An operator moves a bot without asking its node.
    func moveByForce(_ bot: String, to target: NodeMachine) {
        let number = nextNumber()
        hub?.ask { [weak self] record, date in
            guard let self, !record.isDeploying(bot), record.place(of: bot)?.node != target.id else { return nil }
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
        machine.disk?.prepare(bot)
        if let disk = machine.disk { checker.files.begins(copy.label, epoch: epoch, disk.listing(bot)) }
        if !copy.isRunning {
            checker.files.started(copy.label)
            if !checker.isExcused(copy.label) {
                checker.begins(copy, nodes.filter { $0 !== machine }.compactMap { $0.bot(bot) }.filter(\.isRunning))
            }
            copy.crash()
            copy.isRunning = true
        }
        if copy.isRemoved { copy.receive(workspace: machine.disk?.remembered(bot) ?? 0) }
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
        if let disk = machine.disk, !bot.isRemoved { checker.files.stopped(bot.label, disk.listing(bot.id)) }
    }

    /// An operator moves a bot with its workspace.
    func move(_ bot: String, to target: NodeMachine) {
        guard record.place(of: bot).map({ $0.node != target.id }) ?? false else { return }
        hub?.deploying?.deploy(bot, to: target)
    }

    // MARK: - Workspaces

    var hasDisks: Bool { plan.faults.contains(.move) }

    func takesLinks(_ node: String) -> Bool { nodes.first { $0.id == node }?.takesLinks == true }

    /// The record names the target of a deployment.
    func placed(_ deployment: Deployment) {
        let bot = deployment.bot.rawValue
        guard let target = machine(deployment.target), let place = record.place(of: bot) else { return }
        (places[bot], placedAt[bot]) = (place, world.now)
        let known = target.bot(bot)
        let new = known ?? target.add(bot)
        if new.isRunning { checker.excuse(new.label) }
        checker.own(new)
        new.receive(workspace: target.disk?.remembered(bot) ?? 0)
        if let copy = machine(deployment.source)?.bot(bot) {
            checker.carried(copy)
            checker.files.committed(deployment.id.rawValue, from: copy.label)
        }
        checker.files.awaits(new.label, epoch: place.epoch, deployment.id.rawValue)
        guard known == nil else { return }
        target.agent?.follow(new)
        workload.begin(target, new)
    }

    /// The record names the source again.
    func placedBack(_ deployment: Deployment) {
        let bot = deployment.bot.rawValue
        guard let place = record.place(of: bot) else { return }
        (places[bot], placedAt[bot]) = (place, world.now)
        if let copy = machine(deployment.target)?.bot(bot) { checker.isCopy(copy) }
        if let copy = machine(deployment.source)?.bot(bot) { checker.own(copy) }
    }

    /// A deployment has failed, and the bot is about to be started where it was.
    func returned(_ deployment: Deployment) {
        let bot = deployment.bot.rawValue
        guard let source = machine(deployment.source), let copy = source.bot(bot), let disk = source.disk else {
            return
        }
        checker.files.returned(copy.label, disk.listing(bot))
    }

    private func machine(_ placement: Placement) -> NodeMachine? { nodes.first { $0.id == placement.node.rawValue } }

    /// Somebody changes a workspace, mostly the bot.
    func meddle(_ bot: String, on machine: NodeMachine, isHasty: Bool = false) {
        guard let disk = machine.disk, disk.hasWorkspace(bot), let copy = machine.bot(bot), !copy.isRemoved else {
            return
        }
        let changes = WorkspaceChanges(
            disk: disk,
            bot: bot,
            world: world,
            canMount: canMount,
            number: nextNumber()
        )
        changes.change(isHasty: isHasty)
        if !copy.isRunning { checker.files.changed(copy.label, disk.listing(bot)) }
    }

    /// In the middle of what begins now.
    func meddleSoon(_ bot: String, on machine: NodeMachine) {
        guard plan.faults.contains(.files), world.chance(35) else { return }
        world.after(world.pick(0...4 * plan.latency)) { [weak self] in
            guard let self, !self.network.isHealed else { return }
            self.meddle(bot, on: machine, isHasty: true)
        }
    }

    func makeDisks() {
        guard hasDisks else { return }
        let base = NodeDisk.newBase(seed: world.seed)
        canMount = SimulatedMount.begin()
        diskBase = base
        for node in nodes {
            let disk = NodeDisk(base: base, name: node.id)
            node.use(disk)
            for bot in node.bots {
                disk.prepare(bot.id)
                disk.remember(bot.id, 0)
                WorkspaceChanges(disk: disk, bot: bot.id, world: world, canMount: canMount, number: nextNumber())
                    .populate()
            }
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
