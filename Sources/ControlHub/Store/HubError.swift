/// Anything that goes wrong inside the hub and that somebody outside must be told about.
///
/// `detail` is shown to users: it says what happened, to what, and what to do next. `cause` goes to the log only.
struct HubError: Error, Sendable, CustomStringConvertible {
    /// A stable, machine-readable reason. The HTTP status that belongs to it stands in `ErrorRendering`.
    struct Code: RawRepresentable, Hashable, Sendable {
        let rawValue: String

        static let invalidRequest = Code(rawValue: "invalid_request")
        static let unauthenticated = Code(rawValue: "unauthenticated")
        static let malformedRequest = Code(rawValue: "malformed_request")
        static let upgradeRequired = Code(rawValue: "upgrade_required")
        static let forbidden = Code(rawValue: "forbidden")
        static let csrfTokenMissing = Code(rawValue: "csrf_token_missing")
        static let notFound = Code(rawValue: "not_found")
        static let methodNotAllowed = Code(rawValue: "method_not_allowed")
        static let conflict = Code(rawValue: "conflict")
        static let nameTaken = Code(rawValue: "name_taken")
        static let nodeInUse = Code(rawValue: "node_in_use")
        static let nodeOffline = Code(rawValue: "node_offline")
        static let nodeRevoked = Code(rawValue: "node_revoked")
        static let useDeploy = Code(rawValue: "use_deploy")
        static let deploymentRunning = Code(rawValue: "deployment_running")
        static let preflightFailed = Code(rawValue: "preflight_failed")
        static let notCancellable = Code(rawValue: "not_cancellable")
        static let enrollmentCodeInvalid = Code(rawValue: "enrollment_code_invalid")
        static let enrollmentCodeExpired = Code(rawValue: "enrollment_code_expired")
        static let enrollmentCodeUsed = Code(rawValue: "enrollment_code_used")
        static let lastAdministrator = Code(rawValue: "last_administrator")
        static let limitReached = Code(rawValue: "limit_reached")
        static let nodeDraining = Code(rawValue: "node_draining")
        static let nodeNotQuarantined = Code(rawValue: "node_not_quarantined")
        static let requestTimeout = Code(rawValue: "request_timeout")
        static let headersTooLarge = Code(rawValue: "headers_too_large")
        static let rateLimited = Code(rawValue: "rate_limited")
        static let hubBusy = Code(rawValue: "hub_busy")
        static let queueFull = Code(rawValue: "queue_full")
        static let payloadTooLarge = Code(rawValue: "payload_too_large")
        static let idempotencyKeyReused = Code(rawValue: "idempotency_key_reused")
        static let requestInProgress = Code(rawValue: "request_in_progress")
        static let storageFull = Code(rawValue: "storage_full")
        static let storageUnavailable = Code(rawValue: "storage_unavailable")
        static let storageCorrupt = Code(rawValue: "storage_corrupt")
        static let tooManyStreams = Code(rawValue: "too_many_streams")
        static let agentRefused = Code(rawValue: "agent_refused")
        static let rotationFailed = Code(rawValue: "rotation_failed")
        static let agentTimeout = Code(rawValue: "agent_timeout")
        static let staleSession = Code(rawValue: "stale_session")
        static let preconditionFailed = Code(rawValue: "precondition_failed")
        static let rangeNotSatisfiable = Code(rawValue: "range_not_satisfiable")
        static let botRunning = Code(rawValue: "bot_running")
        static let agentTooOld = Code(rawValue: "agent_too_old")
        static let transferFailed = Code(rawValue: "transfer_failed")
        static let internalError = Code(rawValue: "internal_error")
    }

    let code: Code
    let detail: String
    /// When trying again makes sense, where that is known.
    var retryAfter: Duration?
    /// What lies beneath; for the log.
    var cause: (any Error)?

    init(_ code: Code, _ detail: String, retryAfter: Duration? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.detail = detail
        self.retryAfter = retryAfter
        self.cause = cause
    }

    var description: String { "\(code.rawValue): \(detail)" + (cause.map { " (\($0))" } ?? "") }
}

extension HubError.Code {
    /// Whether the disk or the database's file is at fault, whatever was asked.
    var isOfStorage: Bool { [.storageFull, .storageUnavailable, .storageCorrupt].contains(self) }
}
