import SwiftProtobuf
import WireFormat

/// What the hub asks of a node that is connected, over its session.
extension GatewayService: AgentChannel {
    func logs(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription {
        let stream = try opened(on: node) { try $0.openLogStream(request) }
        return LogSubscription(
            next: {
                do {
                    return try await stream.receive(WireLogChunk.self)
                } catch let error as WireFormatError {
                    throw Self.failure(error)
                }
            },
            cancel: { stream.reset(.cancelled, reason: "nobody reads any more") }
        )
    }

    func open(_ header: WireStreamHeader, on node: NodeID) async throws -> AgentStream {
        AgentStream(try opened(on: node) { try $0.openStream(header) })
    }

    /// A stream of the node's session. Throws `nodeOffline` also where the session is just beginning or ending.
    private func opened(on node: NodeID, _ open: (HubSession) throws -> SessionStream) throws -> SessionStream {
        guard let session = live[node] else {
            throw HubError(.nodeOffline, "The node is not connected. Start its agent and try again.")
        }
        do {
            return try open(session)
        } catch let error as WireFormatError where error.code != .messageTooLarge {
            throw Self.failure(error)
        }
    }

    /// What became of a stream, for who asked for it.
    private static func failure(_ error: WireFormatError) -> HubError {
        if error.code == .tooManyStreams || error.resetCode == .refused {
            return HubError(
                .hubBusy,
                "The node is busy: \(error.message). Try again in a moment.",
                retryAfter: .seconds(2),
                cause: error
            )
        }
        let isGone = error.code != .streamReset || error.resetCode == .cancelled
        return isGone
            ? HubError(
                .nodeOffline,
                "The node's session is beginning or has ended. Try again in a moment.",
                cause: error
            )
            : HubError(.agentRefused, "The node's agent refused: \(error.message)", cause: error)
    }

    func ask(_ command: WireCommand, on node: NodeID, within limit: Duration) async throws -> WireCommandResult {
        guard let session = live[node] else {
            throw HubError(.nodeOffline, "The node is not connected. Start its agent and try again.")
        }
        let stream: SessionStream
        do {
            stream = try session.openCommandStream(command)
        } catch {
            throw HubError(
                .nodeOffline,
                "The node takes no command now: \(error). Try again in a moment.",
                cause: error
            )
        }
        let timeout = HubError(
            .agentTimeout,
            "The node did not answer within \(Int(saturating: limit.seconds)) s. It may be overloaded, or its link may be gone."
        )
        return try await withThrowingTaskGroup(of: WireCommandResult?.self) { group in
            group.addTask {
                try await Task.sleep(for: limit)
                return nil
            }
            group.addTask {
                do {
                    let result = try await stream.receive(WireCommandResult.self)
                    stream.finish()
                    guard let result else {
                        throw HubError(.agentRefused, "The agent answered nothing; it may be too old. Upgrade it.")
                    }
                    return result
                } catch let error as WireFormatError where error.code == .sessionClosed {
                    throw HubError(
                        .nodeOffline,
                        "The node's session ended before it answered. Try again.",
                        cause: error
                    )
                } catch let error as WireFormatError {
                    throw HubError(.agentRefused, "The agent does not know this command; upgrade it.", cause: error)
                }
            }
            defer {
                group.cancelAll()
                // After the end of the stream this does nothing.
                if Task.isCancelled { stream.reset(.cancelled, reason: "nobody waits for it any more") }
            }
            guard let result = try await group.next() ?? nil else {
                stream.reset(.cancelled, reason: "nobody waits for it any more")
                throw timeout
            }
            return result
        }
    }

    func apply(_ settings: WireSessionSettings, on node: NodeID) async {
        // `try?`: a session that ends now is followed by one that begins with them.
        try? await live[node]?.send(settings)
    }

    func isConnected(_ node: NodeID) async -> Bool {
        live[node] != nil
    }

    func waitUntilConnected(_ node: NodeID) async throws {
        try await live.waitFor(node)
    }

    func disconnect(_ node: NodeID, code: UInt16, reason: String) async {
        live[node]?.close(SessionCloseCode(rawValue: code), reason: reason)
    }
}
