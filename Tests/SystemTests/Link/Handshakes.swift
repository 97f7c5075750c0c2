import WireFormat

@testable import WebSocketKitLite

/// The agent's half of the opening handshake, with the kit's own request and its check of the answer.
final class AgentHandshake: SocketOwner {
    enum Outcome {
        /// `rest` came in behind the answer.
        case accepted(rest: [UInt8])
        case refused(retryAfter: Duration?)
    }

    private static let timeout: Microseconds = .seconds(10)

    private let connection: SimulatedConnection
    private let simulation: Simulation
    private let key: String
    private var onEnd: ((Outcome) -> Void)?
    private var parser = HTTPResponseHeadParser()

    init(_ connection: SimulatedConnection, _ simulation: Simulation, key: UInt64, _ onEnd: @escaping (Outcome) -> Void)
    {
        self.connection = connection
        self.simulation = simulation
        self.onEnd = onEnd
        let half = (0..<8).map { UInt8(truncatingIfNeeded: key >> ($0 * 8)) }
        self.key = Base64.encode(half + half)
        connection.agent.owner = self
        let request = UpgradeRequest(
            authority: "hub.example",
            target: "/edge/v1/connect",
            key: self.key,
            subprotocols: ["edge.v1"],
            headers: ["Authorization": "Bearer \(simulation.token(for: connection))"]
        )
        if let bytes = try? request.serialize() { connection.agent.write(bytes) }
        simulation.world.after(Self.timeout) { [weak self] in
            guard let self, self.onEnd != nil else { return }
            self.connection.agent.abort(isTold: true)
            self.end(.refused(retryAfter: nil))
        }
    }

    func abandon(isTold: Bool) {
        onEnd = nil
        connection.agent.abort(isTold: isTold)
    }

    func received(_ bytes: [UInt8]) {
        var input = bytes[...]
        do throws(HTTPSyntaxError) {
            guard let head = try parser.next(&input) else { return }
            guard head.status == 101 else {
                let seconds = head.headers.values(for: "Retry-After").first.flatMap(Int.init)
                connection.agent.close()
                end(.refused(retryAfter: seconds.map { .seconds($0) }))
                return
            }
            _ = try UpgradeResponse.validate(head, key: key, offeredSubprotocols: ["edge.v1"])
            end(.accepted(rest: Array(input)))
        } catch {
            simulation.checker.require(false, .protocolError, "the handshake's answer: \(error.message)")
        }
    }

    func receivedEOF() {
        connection.agent.close()
        end(.refused(retryAfter: nil))
    }

    func drained() {}

    private func end(_ outcome: Outcome) {
        let told = onEnd
        onEnd = nil
        told?(outcome)
    }
}

/// The hub's half of the opening handshake, judged by the kit.
///
/// Stands in for SwiftNIO's HTTP server, which reads the request; here a request is what ends with an empty line.
final class HubHandshake: SocketOwner {
    struct Accepted {
        let token: String
        /// What came in behind the request.
        let rest: [UInt8]
    }

    private static let timeout: Microseconds = .seconds(60)

    private let connection: SimulatedConnection
    private let simulation: Simulation
    private let admit: () -> Duration?
    private var onEnd: ((HubHandshake, Accepted?) -> Void)?
    private var request: [UInt8] = []

    var number: Int { connection.number }

    /// - Parameter admit: nil where the handshake is let in, otherwise how long to wait.
    init(
        _ connection: SimulatedConnection,
        _ simulation: Simulation,
        admit: @escaping () -> Duration?,
        onEnd: @escaping (HubHandshake, Accepted?) -> Void
    ) {
        self.connection = connection
        self.simulation = simulation
        self.admit = admit
        self.onEnd = onEnd
        connection.hub.owner = self
        simulation.world.after(Self.timeout) { [weak self] in
            guard let self, self.onEnd != nil else { return }
            self.connection.hub.abort(isTold: true)
            self.end(nil)
        }
    }

    func abandon(isTold: Bool) {
        onEnd = nil
        connection.hub.abort(isTold: isTold)
    }

    func received(_ bytes: [UInt8]) {
        request.append(contentsOf: bytes)
        simulation.checker.limit(request.count, 32 << 10, "bytes of a request")
        guard let end = request.firstRange(of: Array("\r\n\r\n".utf8)) else { return }
        let lines = String(decoding: request[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
        let fields = HeaderFields(
            lines.dropFirst().compactMap { line -> (name: String, value: String)? in
                guard let colon = line.firstIndex(of: ":") else { return nil }
                return (String(line[..<colon]), ASCII.trim(line[line.index(after: colon)...]))
            }
        )
        if let wait = admit() {
            let seconds = wait.components.seconds + 1
            simulation.world.note("hub refuses c\(number) for \(seconds) s", 45, number)
            answer("503 Service Unavailable", ["Retry-After": "\(seconds)", "Content-Length": "0"])
            connection.hub.close()
            self.end(nil)
            return
        }
        do throws(ServerHandshake.Rejection) {
            let accepted = try ServerHandshake.accept(
                method: "GET",
                headers: fields,
                supportedSubprotocols: ["edge.v1"]
            )
            answer("101 Switching Protocols", accepted.headers)
        } catch {
            simulation.checker.require(false, .protocolError, "the handshake's request: \(error.message)")
            return
        }
        let token = String(fields.values(for: "Authorization").first?.dropFirst("Bearer ".count) ?? "")
        self.end(Accepted(token: token, rest: Array(request[end.upperBound...])))
    }

    func receivedEOF() {
        connection.hub.close()
        end(nil)
    }

    func drained() {}

    private func answer(_ status: String, _ headers: HeaderFields) {
        var bytes = Array("HTTP/1.1 \(status)\r\n".utf8)
        headers.write(to: &bytes)
        bytes.append(contentsOf: [0x0D, 0x0A])
        connection.hub.write(bytes)
    }

    private func end(_ accepted: Accepted?) {
        let told = onEnd
        onEnd = nil
        told?(self, accepted)
    }
}
