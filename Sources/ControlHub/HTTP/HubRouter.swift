import Hummingbird

/// The routes under `/api`, by the role they need.
struct RoleGroups {
    let viewer: RouterGroup<HubRequestContext>
    let `operator`: RouterGroup<HubRequestContext>
    let admin: RouterGroup<HubRequestContext>
}

/// Puts the hub's routes together.
enum HubRouter {
    static func make(_ services: HubServices) -> Router<HubRequestContext> {
        let router = Router(context: HubRequestContext.self)
        router.add(middleware: SecurityHeadersMiddleware(isTLS: services.site.isTLS))
        router.add(middleware: ErrorMiddleware())

        let open = router.group()
        let session = SessionRoutes(services: services, limiter: EnrollmentLimiter(now: services.clock.now()))
        let enrollments = EnrollmentRoutes(services: services)
        let operations = OperationsRoutes(services: services)
        session.addPublic(to: open)
        enrollments.addPublic(to: open)
        operations.addPublic(to: open)
        DashboardRoutes().add(to: open)

        let groups = RoleGroups(
            viewer: group(router, services, .viewer),
            operator: group(router, services, .operator),
            admin: group(router, services, .admin)
        )
        session.add(to: groups)
        enrollments.add(to: groups)
        operations.add(to: groups)
        NodeRoutes(services: services).add(to: groups)
        BotRoutes(services: services).add(to: groups)
        TalkRoutes(services: services).add(to: groups)
        LogRoutes(services: services).add(to: groups)
        CommandRoutes(services: services).add(to: groups)
        EventRoutes(services: services).add(to: groups)
        return router
    }

    private static func group(
        _ router: Router<HubRequestContext>,
        _ services: HubServices,
        _ role: Role
    ) -> RouterGroup<HubRequestContext> {
        router.group("api")
            .add(middleware: AuthenticationMiddleware(operators: services.operators))
            .add(middleware: RoleMiddleware(role: role))
            .add(middleware: IdempotencyMiddleware(store: services.idempotency, clock: services.clock))
    }
}
