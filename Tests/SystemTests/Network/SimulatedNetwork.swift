/// Connects nodes with the hub, and knows every connection there is.
final class SimulatedNetwork {
    enum Outcome {
        case connected(SimulatedConnection)
        /// Refused by the hub's machine, or nothing heard in time.
        case failed
    }

    /// The kit's limit on this phase.
    private static let connectTimeout: Microseconds = .seconds(10)

    private unowned let simulation: Simulation
    private var connections: [(node: Int, connection: SimulatedConnection)] = []
    private(set) var connectionCount = 0
    /// Faults are over: connections made from now on are good.
    var isHealed = false

    private var world: World { simulation.world }

    init(_ simulation: Simulation) {
        self.simulation = simulation
    }

    /// Connections of a node that at least one side still holds.
    func connections(of node: NodeMachine) -> [SimulatedConnection] {
        connections.filter { $0.node == node.number && !isGone($0.connection) }.map(\.connection)
    }

    /// Whether a fault still lasts on a connection that a side believes in.
    func hasDeadLine(_ node: NodeMachine) -> Bool {
        connections(of: node).contains { connection in
            [connection.agent, connection.hub].contains { socket in
                socket.line.isDead || socket.line.heldUntil > world.now || (!socket.isReading && socket.owner != nil)
            }
        }
    }

    var openCount: Int { connections.count { !isGone($0.connection) } }

    func connect(_ node: NodeMachine, _ then: @escaping (Outcome) -> Void) {
        let roundTrip = 2 * world.pick(100...simulation.plan.latency)
        if node.isPartitioned {
            world.after(Self.connectTimeout) { then(.failed) }
            return
        }
        world.after(roundTrip) { [weak self] in
            guard let self, let hub = self.simulation.hub, !hub.isStopping, !node.isPartitioned else {
                then(.failed)
                return
            }
            let connection = self.make(node)
            hub.accept(connection)
            then(.connected(connection))
        }
    }

    private func make(_ node: NodeMachine) -> SimulatedConnection {
        connections.removeAll { isGone($0.connection) }
        connectionCount += 1
        let connection = SimulatedConnection(
            world,
            number: connectionCount,
            node: node.number,
            agentLine: line(),
            hubLine: line()
        )
        connections.append((node.number, connection))
        if !isHealed, simulation.plan.faults.contains(.cutAtByte), world.chance(40) { cutLater(connection) }
        return connection
    }

    private func line() -> SimulatedSocket.Line {
        var line = SimulatedSocket.Line()
        let low = world.pick(100...simulation.plan.latency)
        // Jitter up to the latency itself; bytes never overtake each other, so it is delay and bursts.
        line.latency = low...low + world.pick(1...low)
        if world.chance(30) { line.maxSegmentBytes = world.pick(1...200) }
        if world.chance(20) { line.windowBytes = world.pick(4...48) << 10 }
        return line
    }

    private func cutLater(_ connection: SimulatedConnection) {
        let socket = world.chance(50) ? connection.agent : connection.hub
        // Most of what matters happens within the first bytes: handshake, Hello, Welcome, first commands.
        socket.line.cutAfterBytes = world.chance(60) ? world.pick(1...1500) : world.pick(1500...60_000)
        let notice = SimulatedConnection.Notice.allCases[world.pick(0...3)]
        socket.onCut = { [weak connection] in connection?.cut(notice) }
    }

    private func isGone(_ connection: SimulatedConnection) -> Bool {
        connection.agent.isClosed && connection.hub.isClosed
    }
}
