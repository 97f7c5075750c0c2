/// Why a bot could not be started, stopped, reached or read.
struct RuntimeError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Why, stable and machine-readable.
    enum Code: String, Sendable, CaseIterable {
        case invalidBotID = "invalid_bot_id"
        case invalidSpecification = "invalid_specification"
        case botNotFound = "bot_not_found"
        case profileNotFound = "profile_not_found"
        case profileNotUsable = "profile_not_usable"
        /// The profile's program or user is not there: not yet, or not any more.
        case programUnavailable = "program_unavailable"
        case configurationNotJSON = "config_not_json"
        case olderEpoch = "placement_epoch_too_old"
        case leaseOver = "lease_over"
        case launchFailed = "launch_failed"
        /// No process could be made for it just then.
        case spawnFailed = "spawn_failed"
        case stopFailed = "stop_failed"
        case botNotRunning = "bot_not_running"
        case botNotReady = "bot_not_ready"
        case takesNoMessages = "bot_takes_no_messages"
        case messageRefused = "message_refused"
        case deliveryFailed = "delivery_failed"
        case storageFailed = "storage_failed"
        case engineUnavailable = "engine_unavailable"
        case imageMissing = "image_missing"
        case pullRefused = "pull_refused"
        case pullFailed = "pull_failed"
        case refusedByPolicy = "refused_by_policy"
    }

    /// Goes into `WireCommandResult.error_code`.
    let code: String
    /// What happened, to what, and what to do next; one line.
    let message: String

    init(_ code: Code, _ message: String) {
        self.code = code.rawValue
        self.message = message
    }

    var description: String { message }

    /// It may work later, without anybody telling the agent anything: a disk is mounted or gets room, a program is put
    /// back, processes end. A code that is not known here is none of ours, and what it stands for may pass.
    var isPassing: Bool { Code(rawValue: code)?.isPassing ?? true }

    /// For the status of a bot that could not be started.
    var botReason: BotReason { BotReason(rawValue: code) ?? .launchFailed }

    static func refused(_ refusal: PolicyRefusal) -> RuntimeError {
        RuntimeError(.refusedByPolicy, refusal.message)
    }

    /// Anything thrown, as an error with a code.
    static func wrapping(_ error: any Error) -> RuntimeError {
        switch error {
        case let error as RuntimeError: error
        case let error as PolicyRefusal: .refused(error)
        case let error as Files.Failure: RuntimeError(.storageFailed, error.reason)
        default: RuntimeError(.storageFailed, "\(error)")
        }
    }
}

extension RuntimeError.Code {
    /// Final is only what was decided: by the one who asked, by the profile or the policy, by a registry.
    var isPassing: Bool {
        switch self {
        case .invalidBotID, .invalidSpecification, .botNotFound, .profileNotFound, .profileNotUsable,
            .configurationNotJSON, .olderEpoch, .leaseOver, .takesNoMessages, .messageRefused, .imageMissing,
            .pullRefused, .refusedByPolicy:
            false
        case .programUnavailable, .launchFailed, .spawnFailed, .stopFailed, .botNotRunning, .botNotReady,
            .deliveryFailed, .storageFailed, .engineUnavailable, .pullFailed:
            true
        }
    }
}
