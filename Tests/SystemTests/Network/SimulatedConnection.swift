/// A TCP connection between a node and the hub, and what was said on it.
final class SimulatedConnection {
    /// Who learns that a connection broke; who does not goes on believing in it.
    enum Notice: CaseIterable {
        case both, agent, hub, nobody
    }

    let number: Int
    let agent: SimulatedSocket
    let hub: SimulatedSocket
    /// WebSocket messages sent and not yet delivered, to compare with what comes out.
    let toHub = MessageLog()
    let toAgent = MessageLog()
    private let world: World

    init(_ world: World, number: Int, node: Int, agentLine: SimulatedSocket.Line, hubLine: SimulatedSocket.Line) {
        self.world = world
        self.number = number
        (agent, hub) = SimulatedSocket.pair(world, "n\(node) c\(number)", agentLine: agentLine, hubLine: hubLine)
    }

    /// Cuts the connection in both directions.
    func cut(_ notice: Notice) {
        world.note("c\(number) is cut, told: \(notice)", 2, number)
        agent.line.isDead = true
        hub.line.isDead = true
        // Told by a router or by the own kernel, which the dead line does not keep from it.
        if notice == .both || notice == .agent { tell(agent) }
        if notice == .both || notice == .hub { tell(hub) }
    }

    private func tell(_ socket: SimulatedSocket) {
        world.after(world.pick(0...Microseconds.milliseconds(50))) { [weak socket] in
            guard let socket, !socket.isClosed else { return }
            let owner = socket.owner
            socket.abort(isTold: false)
            owner?.receivedEOF()
        }
    }
}

/// The messages of one direction in the order they were sent.
final class MessageLog {
    private var messages: [[UInt8]] = []
    private var head = 0

    func append(_ message: [UInt8]) { messages.append(message) }

    /// The oldest message that has not come out yet.
    func popFirst() -> [UInt8]? {
        guard head < messages.count else { return nil }
        let message = messages[head]
        head += 1
        if head * 2 >= messages.count {
            messages.removeFirst(head)
            head = 0
        }
        return message
    }
}
