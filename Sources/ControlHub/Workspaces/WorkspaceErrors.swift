import WireFormat

/// What goes wrong on a node's side of a workspace, as the hub's own errors.
enum WorkspaceErrors {
    static func error(_ failure: WireWorkspaceFailure) -> HubError {
        HubError(code(failure.code), failure.message.asSentence)
    }

    /// The one table from the agent's codes to the hub's.
    private static func code(_ code: String) -> HubError.Code {
        switch code {
        case "not_found", "bot_not_found": .notFound
        case "changed": .preconditionFailed
        case "exists", "not_empty", "bot_running": .conflict
        case "too_large": .payloadTooLarge
        case "disk_full": .storageFull
        case "denied", "refused", "outside": .forbidden
        case "busy": .hubBusy
        case "unsupported": .agentTooOld
        case "bad_path", "not_a_directory", "is_a_directory", "not_a_file", "bad_data": .invalidRequest
        default: .transferFailed
        }
    }

    /// What became of a stream, where it did not end as it should.
    static func error(_ error: any Error) -> any Error {
        guard let error = error as? WireFormatError else { return error }
        switch error.resetCode {
        case .refused?:
            return HubError(
                .hubBusy,
                "The node is busy with other files. Try again.",
                retryAfter: .seconds(2),
                cause: error
            )
        case .unsupported?:
            return HubError(.agentTooOld, "The node's agent does not know how to do that. Upgrade it.", cause: error)
        case nil where error.code == .tooManyStreams:
            return HubError(.hubBusy, "Too much is open on the node. Try again.", retryAfter: .seconds(2), cause: error)
        case nil where error.code == .malformedMessage:
            return HubError(.transferFailed, "The node's agent sent something that cannot be read.", cause: error)
        case nil where [.sessionClosed, .goingAway, .notEstablished].contains(error.code):
            return HubError(
                .nodeOffline,
                "The connection to the node was lost. Try again when it is back.",
                cause: error
            )
        default:
            return HubError(.transferFailed, "The node ended the transfer. Try again.", cause: error)
        }
    }
}
