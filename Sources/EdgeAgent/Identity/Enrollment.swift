import FoundationEssentials
import Glibc
import WebSocketKitLite

/// Redeems a one-time code for an identity.
///
/// The request id is on disk before the request leaves, so an answer that got lost on the way can be asked for again
/// with the same code by this agent, and by nobody else.
struct Enrollment: Sendable {
    private static let pendingFile = "enrollment.json"

    let directory: StateDirectory
    let hubURL: String
    let configuration: AgentConfiguration

    /// - Parameters:
    ///   - name: what to call the node; nil for the host name.
    ///   - again: replace an identity that is there already.
    /// - Throws: `AgentError`; the state directory then is as it was, but for the pending request id.
    func redeem(code: String, name: String?, again: Bool) async throws(AgentError) -> NodeIdentity {
        let store = IdentityStore(directory: directory)
        if !again { try requireUnpaired() }
        let authorityPEM = try authority()
        let requestID = try pendingRequestID()
        let granted = try await request(code: code, name: name, requestID: requestID)
        let identity = NodeIdentity(
            hubURL: hubURL,
            nodeID: granted.nodeID,
            nodeName: granted.nodeName,
            token: granted.token,
            pinSHA256: configuration.pinSHA256
        )
        try store.save(identity, authorityPEM: authorityPEM)
        directory.remove(Self.pendingFile)
        return identity
    }

    /// Throws `configuration` where the state directory is paired already, which pairing would replace.
    func requireUnpaired() throws(AgentError) {
        guard let present = try IdentityStore(directory: directory).load() else { return }
        throw AgentError(
            .configuration,
            "this state directory is already paired as \(present.nodeName) with \(present.hubURL); "
                + "add --again to pair it anew, or use another --state-dir"
        )
    }

    // MARK: Request id

    private struct Pending: Codable {
        var requestID: String

        private enum CodingKeys: String, CodingKey {
            case requestID = "request_id"
        }
    }

    private func pendingRequestID() throws(AgentError) -> String {
        // A damaged file is worth no more than a missing one: a new id is made.
        if let bytes = try directory.read(Self.pendingFile),
            let pending = try? OutsideJSON.decode(Pending.self, from: bytes)
        {
            return pending.requestID
        }
        let pending = Pending(requestID: RandomText.hex(bytes: 16))
        guard let bytes = try? JSONEncoder().encode(pending) else {
            throw AgentError(.software, "the request id cannot be encoded")
        }
        try directory.write(Self.pendingFile, Array(bytes))
        return pending.requestID
    }

    // MARK: Exchange with the hub

    private struct Request: Encodable {
        var code: String
        var requestID: String
        var name: String
        var hostName: String
        var os = "linux"
        var architecture: String
        var agentVersion = AgentVersion.current

        private enum CodingKeys: String, CodingKey {
            case code
            case requestID = "request_id"
            case name
            case hostName = "host_name"
            case os
            case architecture
            case agentVersion = "agent_version"
        }
    }

    private struct Granted: Decodable {
        var nodeID: String
        var nodeName: String
        var token: Secret

        private enum CodingKeys: String, CodingKey {
            case nodeID = "node_id"
            case nodeName = "node_name"
            case token
        }
    }

    private struct Problem: Decodable {
        var code: String?
        var detail: String?
    }

    private func request(code: String, name: String?, requestID: String) async throws(AgentError) -> Granted {
        let facts = NodeFacts.read { _ in "" }
        let body = Request(
            code: code,
            requestID: requestID,
            name: name ?? facts.hostName,
            hostName: facts.hostName,
            architecture: facts.architecture
        )
        let response: HTTPExchange.Response
        let hub: HubConnection
        do {
            hub = try HubConnection(
                url: hubURL,
                authorityFile: configuration.authorityFile,
                pinSHA256: configuration.pinSHA256,
                configuration: configuration,
                loop: try EpollLoop.start()
            )
            response = try await HTTPExchange.perform(
                HTTPExchange.Request(
                    method: "POST",
                    endpoint: hub.enrollment,
                    headers: ["Content-Type": "application/json", "Accept": "application/json"],
                    body: Array(try JSONEncoder().encode(body))
                ),
                dialer: hub.dialer
            )
        } catch let error as WebSocketError {
            throw AgentError(.unavailable, error.message)
        } catch let error as AgentError {
            throw error
        } catch {
            throw AgentError(.software, "\(error)")
        }
        if response.status == 201, let granted = try? OutsideJSON.decode(Granted.self, from: response.body) {
            return granted
        }
        throw refusal(response, hub.authority)
    }

    private func refusal(_ response: HTTPExchange.Response, _ authority: String) -> AgentError {
        // Something that is no problem document is told by its status.
        let problem = try? OutsideJSON.decode(Problem.self, from: response.body)
        switch problem?.code {
        case "enrollment_code_invalid":
            return AgentError(
                .noPermission,
                "the hub does not know this code; check it for typing errors, or get a new one"
            )
        case "enrollment_code_expired":
            return AgentError(.noPermission, "this code has expired; get a new one from the hub")
        case "enrollment_code_used":
            return AgentError(
                .noPermission,
                "this code has already been used by another machine; get a new one from the hub"
            )
        case "rate_limited":
            let wait = response.headers["Retry-After"].map { " in \($0) s" } ?? " later"
            return AgentError(
                .temporaryFailure,
                "the hub takes no more codes from this address for now; try again\(wait)"
            )
        default:
            let detail = problem?.detail.map { ": \($0)" } ?? ""
            return AgentError(
                .unavailable,
                "\(authority) answered \(response.status)\(detail); "
                    + (HTTPStatusHint.text(response.status) ?? "check that the URL is a ControlHub's")
            )
        }
    }

    private func authority() throws(AgentError) -> [UInt8]? {
        guard let path = configuration.authorityFile else { return nil }
        do {
            guard let bytes = try Files.readNamed(path) else {
                throw AgentError(.configuration, "CA file \(path) does not exist")
            }
            return bytes
        } catch let failure as Files.Failure {
            throw AgentError(.configuration, "CA file \(path) cannot be read: \(failure.reason)")
        } catch let error as AgentError {
            throw error
        } catch {
            throw AgentError(.software, "\(error)")
        }
    }
}
