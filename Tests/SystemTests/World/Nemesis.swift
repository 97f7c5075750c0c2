/// Brings the faults of a plan, one after the other, until its time is over.
final class Nemesis {
    private static let mostNodes = 5

    private unowned let simulation: Simulation
    private let faults: [FaultPlan.Fault]

    private var world: World { simulation.world }

    init(_ simulation: Simulation) {
        self.simulation = simulation
        // The rest lies in how connections are made.
        faults = FaultPlan.Fault.allCases.filter {
            simulation.plan.faults.contains($0) && ![.cutAtByte, .tightAdmission, .slowDisk].contains($0)
        }
    }

    func start() {
        guard !faults.isEmpty else { return }
        next()
        if simulation.hasDisks { moveLater() }
    }

    private func next() {
        world.after(world.pick(1...2 * simulation.plan.faultGap)) { [weak self] in
            guard let self, !self.simulation.network.isHealed else { return }
            self.bring(self.faults[self.world.pick(0...self.faults.count - 1)])
            self.next()
        }
    }

    private func bring(_ fault: FaultPlan.Fault) {
        let node = simulation.nodes[world.pick(0...simulation.nodes.count - 1)]
        world.note("fault: \(fault), node \(node.number)", 50, node.number)
        switch fault {
        case .cut: withConnection(node) { $0.cut(SimulatedConnection.Notice.allCases[self.world.pick(0...3)]) }
        case .halfOpen: withConnection(node, halfOpen)
        case .stall: withConnection(node, stall)
        case .slowReader: slowReader(node)
        case .partition: partition(node)
        case .clockJump: jump(node)
        case .hubKill: simulation.killHub(isTold: world.chance(80))
        case .hubRestart: simulation.restartHub()
        case .agentKill: simulation.killAgent(node, isTold: world.chance(60))
        case .killBetweenSteps: armKill(node)
        case .reboot: reboot(node)
        case .twin: twin(node)
        case .botCrash: node.bots[world.pick(0...node.bots.count - 1)].crash()
        case .rollback: rollBack(node)
        case .clone: clone(node)
        case .formerHost: moveByForce()
        case .hubClock: jumpAndReturn()
        case .restore: restore()
        case .move: move()
        case .files: simulation.meddle(node.bots[world.pick(0...node.bots.count - 1)].id, on: node)
        case .cutAtByte, .tightAdmission, .slowDisk: break
        }
    }

    private func withConnection(_ node: NodeMachine, _ action: (SimulatedConnection) -> Void) {
        let connections = simulation.network.connections(of: node)
        guard !connections.isEmpty else { return }
        action(connections[world.pick(0...connections.count - 1)])
    }

    /// One direction or both stop to carry, and nobody is told.
    private func halfOpen(_ connection: SimulatedConnection) {
        let which = world.pick(0...2)
        if which != 0 { connection.agent.line.isDead = true }
        if which != 1 { connection.hub.line.isDead = true }
    }

    /// One direction holds everything for a while: the other side gives up, dials again, and the old bytes come after.
    private func stall(_ connection: SimulatedConnection) {
        let socket = world.chance(70) ? connection.agent : connection.hub
        socket.line.heldUntil = world.now + world.pick(Microseconds.seconds(1)...Microseconds.seconds(40))
    }

    private func slowReader(_ node: NodeMachine) {
        let pause = world.pick(Microseconds.milliseconds(100)...Microseconds.seconds(20))
        if world.chance(50), let driver = node.agent?.driver {
            driver.setReading(false)
            world.after(pause) { [weak driver] in driver?.setReading(true) }
        } else if let driver = simulation.hub?.session(of: node.id)?.driver {
            driver.setReading(false)
            world.after(pause) { [weak driver] in driver?.setReading(true) }
        }
    }

    private func partition(_ node: NodeMachine) {
        node.isPartitioned = true
        for connection in simulation.network.connections(of: node) {
            connection.agent.line.isDead = true
            connection.hub.line.isDead = true
        }
        world.after(world.pick(Microseconds.seconds(1)...Microseconds.seconds(60))) { node.isPartitioned = false }
    }

    private func jump(_ node: NodeMachine) {
        let hours = world.pick(1...48)
        let jump = Int64(world.chance(50) ? hours : -hours) * 3_600_000
        if world.chance(50) {
            node.wall.offsetMilliseconds += jump
        } else {
            simulation.hubWall.offsetMilliseconds += jump
        }
    }

    /// The hub's clock is days ahead, and mostly right again after a while.
    private func jumpAndReturn() {
        let jump = Int64(world.pick(1...400)) * 86_400_000
        simulation.hubWall.offsetMilliseconds += jump
        guard world.chance(80) else { return }
        world.after(world.pick(1...Microseconds.seconds(60))) { [simulation] in
            simulation.hubWall.offsetMilliseconds -= jump
        }
    }

    private func reboot(_ node: NodeMachine) {
        simulation.killAgent(node, isTold: false)
        for bot in node.bots { bot.crash() }
    }

    /// A state directory is copied, or the last copy is put back.
    private func rollBack(_ node: NodeMachine) {
        guard let copy = node.copy else {
            node.copy = StateCopy(node)
            return
        }
        node.copy = nil
        simulation.putBack(copy, on: node, withLogs: world.chance(70))
    }

    /// A machine is made from a copy of another's disk and paired anew. Mostly it is to be the bots' new home.
    private func clone(_ node: NodeMachine) {
        guard simulation.nodes.count < Self.mostNodes, let clone = simulation.clone(node) else { return }
        guard world.chance(70) else { return }
        let bot = node.bots[world.pick(0...node.bots.count - 1)].id
        world.after(world.pick(1...Microseconds.seconds(20))) { [weak self] in
            guard let self, !self.simulation.network.isHealed else { return }
            self.simulation.moveByForce(bot, to: clone)
        }
    }

    /// A bot is placed elsewhere while its node cannot be asked, or is not asked; it runs on there.
    private func moveByForce() {
        let bots = simulation.botIDs
        let bot = bots[world.pick(0...bots.count - 1)]
        let target = simulation.nodes[world.pick(0...simulation.nodes.count - 1)]
        if world.chance(60), let place = simulation.record.place(of: bot),
            let source = simulation.nodes.first(where: { $0.id == place.node }), source !== target
        {
            partition(source)
        }
        simulation.moveByForce(bot, to: target)
    }

    /// The hub's record is copied, or the last copy is put back.
    private func restore() {
        if !simulation.restoreHub() { simulation.backUp() }
    }

    /// Where bots are moved it is done again and again, whatever else comes.
    private func moveLater() {
        world.after(world.pick(Microseconds.seconds(2)...Microseconds.seconds(15))) { [weak self] in
            guard let self, !self.simulation.network.isHealed else { return }
            self.move()
            self.moveLater()
        }
    }

    /// A bot goes elsewhere with all that it has, as operators wish now and then.
    private func move() {
        let bot = simulation.botIDs[world.pick(0...simulation.botIDs.count - 1)]
        simulation.move(bot, to: simulation.nodes[world.pick(0...simulation.nodes.count - 1)])
    }

    private func armKill(_ node: NodeMachine) {
        if world.chance(60) {
            node.agent?.transactionsUntilKill = world.pick(0...8)
            // Now and then it is the machine that goes down at this step, and its bots with it.
            node.agent?.isKillReboot = world.chance(40)
        } else {
            simulation.hub?.transactionsUntilKill = world.pick(0...12)
        }
    }

    private func twin(_ node: NodeMachine) {
        guard node.twin == nil else { return }
        let twin = AgentProcess(simulation, node, isTwin: true)
        node.twin = twin
        twin.start()
        world.after(world.pick(Microseconds.seconds(2)...Microseconds.seconds(60))) { [weak self] in
            guard let self, node.twin === twin else { return }
            twin.kill(isTold: self.world.chance(50))
            node.twin = nil
        }
    }
}
