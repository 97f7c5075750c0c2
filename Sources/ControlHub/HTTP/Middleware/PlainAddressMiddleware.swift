import Hummingbird

/// Refuses addresses with an empty part, as in `//api/bots`.
///
/// The router takes no notice of empty parts, and who reads the address itself does: they must not understand two things by
/// one address. A base address that ends in a slash is how most of them come about.
struct PlainAddressMiddleware: RouterMiddleware {
    typealias Context = HubRequestContext

    func handle(
        _ request: Request,
        context: HubRequestContext,
        next: (Request, HubRequestContext) async throws -> Response
    ) async throws -> Response {
        guard !request.uri.string.prefix(while: { $0 != "?" && $0 != "#" }).contains("//") else {
            throw HubError(
                .invalidRequest,
                "The address has an empty part (`//`). Write it with single slashes; a base address has none at its end."
            )
        }
        return try await next(request, context)
    }
}
