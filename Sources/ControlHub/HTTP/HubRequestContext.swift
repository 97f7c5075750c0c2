import Hummingbird
import NIOCore

/// What is known of a request while it is answered.
struct HubRequestContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// The peer's address; a proxy's where one stands in front.
    let remoteAddress: String
    /// Who asks; nil until the request was authenticated.
    var `operator`: Operator?
    /// Set where the request was authenticated by cookie.
    var session: OperatorSession?

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        remoteAddress = source.channel.remoteAddress?.ipAddress ?? "unknown"
    }

    /// The operator of a route behind `RoleMiddleware`. Throws `unauthenticated` elsewhere.
    func requireOperator() throws -> Operator {
        guard let `operator` else { throw AuthenticationMiddleware.missing }
        return `operator`
    }
}
