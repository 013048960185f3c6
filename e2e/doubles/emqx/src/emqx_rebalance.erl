%% The enterprise edition's evacuation: clients are sent away at a rate, and no new one is taken, until it is told to stop. Sessions whose
%% clients do not come back elsewhere in time are moved. A node that restarts meanwhile goes on with it.
-module(emqx_rebalance).
-behaviour(gen_server).

-export([start_link/0, evacuate/2, stop/0, status/0, takes_clients/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Clients in a second, and seconds that they have to come back elsewhere.
evacuate(Rate, Takeover) ->
    gen_server:call(?MODULE, {evacuate, Rate, Takeover}).

stop() ->
    gen_server:call(?MODULE, stop).

status() ->
    gen_server:call(?MODULE, status).

takes_clients() ->
    not filelib:is_regular(record()).

record() ->
    {ok, Directory} = application:get_env(emqx, data_dir),
    filename:join(Directory, "evacuation").

init([]) ->
    case file:consult(record()) of
        {ok, [{Rate, Takeover}]} -> {ok, begun(Rate, Takeover)};
        {error, _} -> {ok, disabled}
    end.

begun(Rate, Takeover) ->
    self() ! evict,
    {evacuation, Rate, Takeover, never}.

handle_call({evacuate, Rate, Takeover}, _From, disabled) ->
    ok = filelib:ensure_dir(record()),
    ok = file:write_file(record(), io_lib:format("~p.~n", [{Rate, Takeover}])),
    {reply, ok, begun(Rate, Takeover)};
handle_call({evacuate, _, _}, _From, State) ->
    {reply, {error, already_started}, State};
handle_call(stop, _From, _) ->
    _ = file:delete(record()),
    {reply, ok, disabled};
handle_call(status, _From, disabled) ->
    {reply, "disabled\n", disabled};
handle_call(status, _From, {evacuation, Rate, _, _} = State) ->
    Clients = length(clients()),
    Sessions = ets:info(emqx_channel, size),
    Phase = case {Clients, Sessions} of
        {0, 0} -> prohibiting;
        {0, _} -> evicting_sessions;
        _ -> evicting_conns
    end,
    {reply, io_lib:format("Rebalance type: evacuation~nRebalance state: ~s~nConnection eviction rate: ~w connections/second~n"
                          "Channel statistics:~n  current_connected: ~w~n  current_sessions: ~w~n", [Phase, Rate, Clients, Sessions]), State}.

handle_cast(_Message, State) ->
    {noreply, State}.

handle_info(evict, {evacuation, Rate, Takeover, Since}) ->
    erlang:send_after(1000, self(), evict),
    Now = erlang:monotonic_time(second),
    case {clients(), Since} of
        {[], never} -> {noreply, {evacuation, Rate, Takeover, Now}};
        {[], _} ->
            _ = Now - Since < Takeover orelse move(),
            {noreply, {evacuation, Rate, Takeover, Since}};
        {Clients, _} ->
            [Pid ! evict || Pid <- lists:sublist(Clients, Rate)],
            {noreply, {evacuation, Rate, Takeover, never}}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

clients() ->
    pg:get_local_members(emqx_clients).

%% Sessions go to the first of the other nodes.
move() ->
    #{running_nodes := Running} = emqx_cluster:status(),
    [Pid ! {move, Node} || [Node | _] <- [Running -- [node()]], {Pid} <- ets:tab2list(emqx_channel)].
