import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// Makes a POST with an `Idempotency-Key` safe to repeat: the second time gets the first one's answer.
struct IdempotencyMiddleware: RouterMiddleware {
    typealias Context = HubRequestContext

    let store: IdempotencyStore
    let clock: HubClock

    func handle(
        _ request: Request,
        context: HubRequestContext,
        next: (Request, HubRequestContext) async throws -> Response
    ) async throws -> Response {
        guard request.method == .post, let name = HTTPField.Name("Idempotency-Key"), let key = request.headers[name]
        else {
            return try await next(request, context)
        }
        guard (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw HubError(.invalidRequest, "`Idempotency-Key` must have 1 to 255 printable ASCII characters.")
        }
        let owner = try context.requireOperator().id
        let body = try await JSONCoding.body(request, limit: JSONCoding.largeBodyBytes)
        let digest = Data(SHA256.hash(data: Data(request.uri.path.utf8) + [0] + body))
        switch try await store.claim(
            key,
            of: owner,
            requestHash: digest,
            at: clock.date(),
            horizon: clock.horizon()
        ) {
        case .answered(let status, let answer):
            var headers: HTTPFields = [:]
            if let replayed = HTTPField.Name("Idempotency-Replayed") { headers[replayed] = "true" }
            return JSONCoding.raw(answer, status: HTTPResponse.Status(code: status), headers: headers)
        case .inProgress:
            throw HubError(
                .requestInProgress,
                "A request with this `Idempotency-Key` is being answered. Try again in a moment.",
                retryAfter: .seconds(1)
            )
        case .otherRequest:
            throw HubError(
                .idempotencyKeyReused,
                "This `Idempotency-Key` was used for another request. Use a new one for each."
            )
        case .new:
            break
        }
        var request = request
        request.body = RequestBody(buffer: ByteBuffer(bytes: body))
        do {
            let current = IdempotentRequest(owner: owner.rawValue, key: key, hubKey: store.key)
            let response = try await IdempotentRequest.$current.withValue(current) { try await next(request, context) }
            let collector = BodyCollector()
            try await response.body.write(collector)
            try await store.complete(key, of: owner, status: response.status.code, body: collector.data)
            return JSONCoding.raw(collector.data, status: response.status, headers: response.headers)
        } catch {
            // What was not done may be tried again. If this fails too, the key is free again after a minute.
            try? await store.abandon(key, of: owner)
            throw error
        }
    }
}

/// Reads a response's body back.
private final class BodyCollector: ResponseBodyWriter {
    private(set) var data = Data()

    func write(_ buffer: ByteBuffer) async throws { data.append(contentsOf: buffer.readableBytesView) }

    func finish(_ trailingHeaders: HTTPFields?) async throws {}
}
