import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOHTTP1
import WireFormat

/// What every error looks like (RFC 9457).
struct ProblemDocument: Codable, APIDocument {
    static let schemaName: String? = "Problem"

    var type = "about:blank"
    let title: String
    let status: Int
    let detail: String
    let code: String

    static var memberDetails: [String: Schema] {
        [
            "status": .integer(400...599), "detail": Schema().described("What happened, to what, and what to do next."),
            "code": Schema().described("Stable: for programs."),
        ]
    }
}

/// Turns every error into `application/problem+json` (RFC 9457). The one table from the hub's errors to HTTP.
enum ErrorRendering {
    static func response(for error: any Error, logger: Logger) -> Response {
        let hubError: HubError
        switch error {
        case let error as HubError:
            hubError = error
        case let error as HTTPError:
            hubError = Self.hubError(for: error)
        case is HTTPParserError:
            hubError = HubError(.malformedRequest, "The request's body is not framed as HTTP says. Nothing was done.")
        default:
            hubError = HubError(.internalError, "The hub has a fault; its log says more.", cause: error)
        }
        let (status, title) = status(of: hubError.code)
        // Turning nodes away is how a hub stays well, not a fault of it.
        if status.code >= 500, hubError.code != .hubBusy {
            logger.error("request failed", metadata: ["error": "\(hubError)"])
        }
        var headers: HTTPFields = [:]
        if let retryAfter = hubError.retryAfter {
            headers[.retryAfter] = String(max(1, Int(saturating: retryAfter.seconds.rounded(.up))))
        }
        if [.payloadTooLarge, .requestTimeout, .malformedRequest].contains(hubError.code) {
            // The rest of the body is not waited for, or cannot be told from what follows.
            headers[.connection] = "close"
        }
        if hubError.code == .unauthenticated {
            headers[.wwwAuthenticate] = "Bearer realm=\"control-hub\""
        }
        let problem = ProblemDocument(
            title: title,
            status: status.code,
            detail: hubError.detail,
            code: hubError.code.rawValue
        )
        // `try?`: five plain texts always encode; an empty body would still carry the status.
        let body = (try? JSONCoding.encode(problem)) ?? Data()
        return JSONCoding.raw(body, status: status, type: "application/problem+json", headers: headers)
    }

    private static func hubError(for error: HTTPError) -> HubError {
        switch error.status {
        case .notFound: HubError(.notFound, "There is nothing at this address. The API lies under /api.")
        case .methodNotAllowed: HubError(.methodNotAllowed, "This address does not take this method.")
        case .contentTooLarge: HubError(.payloadTooLarge, "The request's body is too large.")
        case let status where status.code < 500:
            HubError(.invalidRequest, error.body ?? "The request cannot be understood.")
        default: HubError(.internalError, "The hub has a fault; its log says more.", cause: error)
        }
    }

    static func status(of code: HubError.Code) -> (HTTPResponse.Status, String) {
        switch code {
        case .invalidRequest: (.unprocessableContent, "The request is not valid")
        case .unauthenticated: (.unauthorized, "Not signed in")
        case .malformedRequest: (.badRequest, "The request is malformed")
        case .upgradeRequired: (.upgradeRequired, "WebSocket expected")
        case .forbidden: (.forbidden, "Not allowed")
        case .csrfTokenMissing: (.forbidden, "CSRF token missing or wrong")
        case .notFound: (.notFound, "Not found")
        case .methodNotAllowed: (.methodNotAllowed, "Method not allowed")
        case .conflict: (.conflict, "Changed meanwhile")
        case .nameTaken: (.conflict, "Name taken")
        case .nodeInUse: (.conflict, "Node in use")
        case .nodeOffline: (.conflict, "Node offline")
        case .nodeRevoked: (.forbidden, "Node revoked")
        case .useDeploy: (.unprocessableContent, "Deploy to change this")
        case .notCancellable: (.conflict, "Too late to cancel")
        case .deploymentRunning: (.conflict, "A deployment is under way")
        case .preflightFailed: (.conflict, "The deployment cannot work")
        case .enrollmentCodeInvalid: (.notFound, "Enrollment code not known")
        case .enrollmentCodeExpired: (.gone, "Enrollment code expired")
        case .enrollmentCodeUsed: (.conflict, "Enrollment code used")
        case .lastAdministrator: (.conflict, "Last administrator")
        case .limitReached: (.conflict, "Limit reached")
        case .nodeDraining: (.conflict, "Node is drained")
        case .nodeNotQuarantined: (.conflict, "Nothing is quarantined")
        case .requestTimeout: (.requestTimeout, "The request came too slowly")
        case .headersTooLarge: (.requestHeaderFieldsTooLarge, "The request's head is too large")
        case .rateLimited: (.tooManyRequests, "Too many requests")
        case .hubBusy: (.serviceUnavailable, "Come back later")
        case .queueFull: (.serviceUnavailable, "Queue full")
        case .payloadTooLarge: (.contentTooLarge, "Too large")
        case .idempotencyKeyReused: (.unprocessableContent, "Idempotency key used for another request")
        case .requestInProgress: (.conflict, "The same request is in progress")
        case .storageFull: (HTTPResponse.Status(code: 507, reasonPhrase: "Insufficient Storage"), "Disk full")
        case .storageUnavailable: (.serviceUnavailable, "Database not available")
        case .storageCorrupt: (.internalServerError, "Database damaged")
        case .tooManyStreams: (.tooManyRequests, "Too many open streams")
        case .agentRefused: (.conflict, "The agent refused")
        case .rotationFailed: (.conflict, "The token was not rotated")
        case .agentTimeout: (.gatewayTimeout, "The agent did not answer")
        case .staleSession: (.conflict, "Session replaced")
        case .preconditionFailed: (.preconditionFailed, "Changed meanwhile")
        case .rangeNotSatisfiable: (.rangeNotSatisfiable, "The file has no such part")
        case .botRunning: (.conflict, "The bot is running")
        case .agentTooOld: (.conflict, "The node's agent is too old")
        case .transferFailed: (.badGateway, "The transfer failed")
        default: (.internalServerError, "Internal error")
        }
    }
}
