%% The enterprise edition's evacuation: clients are sent away at a rate, and no new one is taken, until it is told to stop. A node that
%% restarts meanwhile goes on with it.
-module(emqx_rebalance).
-behaviour(gen_server).

-export([start_link/0, evacuate/1, stop/0, status/0, takes_clients/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Clients in a second.
evacuate(Rate) ->
    gen_server:call(?MODULE, {evacuate, Rate}).

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
    case file:read_file(record()) of
        {ok, Rate} ->
            self() ! evict,
            {ok, {evacuation, binary_to_integer(Rate)}};
        {error, _} -> {ok, disabled}
    end.

handle_call({evacuate, Rate}, _From, disabled) ->
    ok = filelib:ensure_dir(record()),
    ok = file:write_file(record(), integer_to_binary(Rate)),
    self() ! evict,
    {reply, ok, {evacuation, Rate}};
handle_call({evacuate, _}, _From, State) ->
    {reply, {error, already_started}, State};
handle_call(stop, _From, _) ->
    _ = file:delete(record()),
    {reply, ok, disabled};
handle_call(status, _From, disabled) ->
    {reply, "disabled\n", disabled};
handle_call(status, _From, {evacuation, Rate} = State) ->
    Clients = length(pg:get_local_members(emqx_clients)),
    Phase = case Clients of 0 -> prohibiting; _ -> evicting_conns end,
    {reply, io_lib:format("Rebalance type: evacuation~nRebalance state: ~s~nConnection eviction rate: ~w connections/second~n"
                          "Channel statistics:~n  current_connected: ~w~n  current_sessions: 0~n", [Phase, Rate, Clients]), State}.

handle_cast(_Message, State) ->
    {noreply, State}.

handle_info(evict, {evacuation, Rate} = State) ->
    [exit(Pid, kill) || Pid <- lists:sublist(pg:get_local_members(emqx_clients), Rate)],
    erlang:send_after(1000, self(), evict),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.
